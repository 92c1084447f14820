"""The table of all REST operations served, in the words of `data/github.json`."""

from runpod_sim.github_groups import group_operations
from runpod_sim.github_integrations import app_operations, hook_operations
from runpod_sim.github_runners import runner_operations
from runpod_sim.github_workflows import workflow_operations

OPERATIONS = (
    *runner_operations(),
    *group_operations(),
    *workflow_operations(),
    *hook_operations(),
    *app_operations(),
)
