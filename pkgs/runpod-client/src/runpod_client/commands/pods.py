"""`runpod-client pods`: everything that can be asked of and done to pods."""

import click

from runpod_client.commands import pod_ending, pod_reading, pod_renting, pod_watching


@click.group()
def pods() -> None:
    """Rent pods and look after them."""


for _command in (
    pod_reading.list_pods,
    pod_reading.show_pod,
    pod_watching.watch_pods,
    pod_renting.create_pod,
    pod_renting.start_pod,
    pod_reading.wait_for_pod,
    pod_reading.show_logs,
    pod_ending.edit_pod,
    pod_ending.restart_pod,
    pod_ending.stop_pod,
    pod_ending.terminate_pod,
):
    pods.add_command(_command)
