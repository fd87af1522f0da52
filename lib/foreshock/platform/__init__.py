"""What the machine offers: sessions, paths, locks, run directories, AWS and logs."""
