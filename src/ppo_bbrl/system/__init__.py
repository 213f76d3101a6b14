"""What stands between the package and the machine: files, signals, the console, cores."""
