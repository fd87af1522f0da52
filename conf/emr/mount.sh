#!/usr/bin/env bash
# Bootstrap action: mounts an EFS access point at /mnt/foreshock on every node, and puts Python 3.11 there.
# Arguments: the file system's id and the access point's id, such as fs-0123 fsap-0456.
set -euo pipefail
sudo dnf install -y -q python3.11 amazon-efs-utils
sudo mkdir -p /mnt/foreshock
sudo mount -t efs -o "tls,accesspoint=$2" "$1:/" /mnt/foreshock
