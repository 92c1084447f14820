# Python with our packages and what their tests and checks need.
{ pkgs }:
pkgs.python3.withPackages (ps: [
  ps.hypothesis
  ps.mypy
  ps.pytest
  ps.pytest-asyncio
  ps.pytest-timeout
  ps.pytest-xdist
  ps.ruff
  ps.runner-installer
  ps.runpod-client
  ps.runpod-hub
  ps.runpod-sim
  ps.runpod-ssh
  ps.types-jsonschema
  ps.types-pyyaml
  ps.types-requests
])
