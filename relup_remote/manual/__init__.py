"""What is said of the commands to operators: `inv --list`, `--help`, completion, and docs/commands.md."""
