"""A local AWS behind one port, with faults and a count of requests.

It has moto's S3, Glue, STS and S3 Tables, and an Athena that executes queries.
"""
