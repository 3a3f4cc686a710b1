"""What the command line can do: one file for each kind of command, with its options and what it runs."""
