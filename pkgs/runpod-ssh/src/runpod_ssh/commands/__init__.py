"""The commands of `runpod-ssh`, a module each, imported when they are asked for."""
