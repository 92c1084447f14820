"""The scripts that run on pods, as files; `plan` reads them. POSIX sh and coreutils."""
