"""The commands of `runner-installer`, a module for what belongs together."""
