"""The levers of the simulator: /_sim/world, faults, clock, billing, hosts.

These routes are no part of RunPod and obey the loopback alone.
"""

from decimal import Decimal
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from runpod_sim import billing
from runpod_sim.admin_call import (
    Endpoint,
    guarded,
    parse_body,
    parse_flag,
    parse_number,
)
from runpod_sim.faults import IMMEDIATE
from runpod_sim.gate import render_json
from runpod_sim.graphql_view import rfc3339
from runpod_sim.model import Pod
from runpod_sim.processes import count_processes
from runpod_sim.runtime import live_status
from runpod_sim.service import Service


class Admin:
    """The admin routes of one simulator."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def routes(self) -> list[BaseRoute]:
        """Return the routes to mount at the server's root."""
        table: tuple[tuple[str, str, Endpoint], ...] = (
            ("/_sim/health", "GET", self.health),
            ("/_sim/world", "GET", self.world),
            ("/_sim/billing", "GET", self.billing),
            ("/_sim/clock", "GET", self.clock),
            ("/_sim/clock", "POST", self.advance),
            ("/_sim/faults", "GET", self.faults),
            ("/_sim/faults", "POST", self.add_fault),
            ("/_sim/faults", "DELETE", self.clear_faults),
            ("/_sim/faults/{fault_id:int}", "DELETE", self.clear_faults),
            ("/_sim/pods/{pod_id}/outbid", "POST", self.outbid),
            ("/_sim/machines/{machine_id}", "POST", self.change_machine),
            ("/_sim/accounts/{account_id}", "POST", self.set_balance),
        )
        return [
            Route(path, guarded(endpoint), methods=[method])
            for path, method, endpoint in table
        ]

    async def health(self, _request: Request) -> Response:
        """Say that the simulator serves, and where its pods live."""
        root = self._service.machines.state_dir
        return JSONResponse({"status": "ok", "state_dir": str(root)})

    async def world(self, _request: Request) -> Response:
        """Show every pod, account and machine, and the live processes."""
        now = self._service.now()
        world = self._service.world
        processes = self._service.machines.process_ids()
        pods = [self._pod(pod, processes.get(pod.id, [])) for pod in world.pods()]
        answer = {
            "now": rfc3339(now),
            "ssh_server": self._service.machines.ssh_server,
            "has_pod_users": self._service.machines.has_pod_users,
            "accounts": [
                {
                    "id": account.id,
                    "balance_usd": billing.as_decimal(account.balance_exact_usd),
                    "charged_usd": billing.as_decimal(account.charged_usd),
                    "spend_usd_per_hour": billing.as_decimal(
                        world.spend_usd_per_hour(account.id)
                    ),
                }
                for account in world.accounts()
            ],
            "pods": pods,
            "machines": [
                {
                    "id": machine.id,
                    "gpu_type_id": machine.gpu_type_id,
                    "cloud_type": machine.cloud_type,
                    "data_center_id": machine.data_center_id,
                    "gpu_count": machine.gpu_count,
                    "cuda_version": machine.cuda_version,
                    "is_lost": machine.is_lost,
                    "taken_gpus": machine.taken_gpus,
                    "free_gpus": world.stock.free_gpus(machine.id, world.used_gpus()),
                }
                for machine in world.stock.machines()
            ],
            "process_count": sum(pod["process_count"] for pod in pods),
            "busy": self._service.machines.is_busy,
        }
        return Response(render_json(answer), media_type="application/json")

    def _pod(self, pod: Pod, process_ids: list[int]) -> dict[str, Any]:
        return {
            "id": pod.id,
            "name": pod.spec.name,
            "account_id": pod.account_id,
            "machine_id": pod.machine_id,
            "desired_status": pod.desired_status.value,
            "status": live_status(pod, self._service.clock.now()).value,
            "last_status_change": pod.last_status_change,
            "is_spot": pod.is_spot,
            "mishap": pod.boot.mishap,
            "locked": pod.locked,
            "terminated": pod.terminated_at is not None,
            "start_number": pod.start_number,
            "public_ports": {str(own): public for own, public in pod.public_ports},
            "directory": str(self._service.machines.directory(pod.id).root),
            "process_ids": process_ids,
            "process_count": count_processes(process_ids),
        }

    async def billing(self, _request: Request) -> Response:
        """Show what each pod has cost so far."""
        self._service.now()
        world = self._service.world
        rows = []
        total = Decimal(0)
        for pod in world.pods():
            charges = world.charges_usd(pod.id)
            pod_total = sum(charges.values(), Decimal(0))
            total += pod_total
            rows.append(
                {
                    "pod_id": pod.id,
                    "account_id": pod.account_id,
                    "compute_usd": charges["compute"],
                    "storage_usd": charges["storage"],
                    "total_usd": pod_total,
                }
            )
        body = render_json({"pods": rows, "total_usd": total})
        return Response(body, media_type="application/json")

    async def clock(self, _request: Request) -> Response:
        """Show the simulated time."""
        return JSONResponse({"now": rfc3339(self._service.clock.now())})

    async def advance(self, request: Request) -> Response:
        """Wind the clock forward."""
        seconds = parse_number(await parse_body(request), "advance_seconds")
        self._service.clock.advance(seconds)
        return JSONResponse({"now": rfc3339(self._service.now())})

    async def faults(self, _request: Request) -> Response:
        """List the faults that can still strike."""
        return JSONResponse({"faults": self._service.faults.standing()})

    async def add_fault(self, request: Request) -> Response:
        """Set a fault."""
        fault = self._service.faults.add(await parse_body(request))
        if fault.kind in IMMEDIATE:
            self._service.apply_at_once(fault)
        return JSONResponse(fault.to_json(), status_code=201)

    async def clear_faults(self, request: Request) -> Response:
        """Remove one fault, or all."""
        cleared = self._service.faults.clear(request.path_params.get("fault_id"))
        return JSONResponse({"cleared": cleared})

    async def outbid(self, request: Request) -> Response:
        """Take a spot pod's GPUs away."""
        pod = self._service.outbid(request.path_params["pod_id"])
        return JSONResponse({"id": pod.id, "desired_status": pod.desired_status.value})

    async def change_machine(self, request: Request) -> Response:
        """Let other customers hold some of a machine's GPUs, or take it off."""
        body = await parse_body(request)
        stock = self._service.world.stock
        machine = stock.get(request.path_params["machine_id"])
        if "is_lost" in body:
            machine = stock.lose(machine.id, is_lost=parse_flag(body, "is_lost"))
        if "taken_gpus" in body:
            machine = stock.take(machine.id, int(parse_number(body, "taken_gpus")))
        answer = {"taken_gpus": machine.taken_gpus, "is_lost": machine.is_lost}
        return JSONResponse({"id": machine.id, **answer})

    async def set_balance(self, request: Request) -> Response:
        """Give an account exactly that much credit."""
        balance = parse_number(await parse_body(request), "balance_usd")
        account_id = request.path_params["account_id"]
        effects = self._service.world.set_balance(
            account_id, Decimal(repr(balance)), self._service.now()
        )
        self._service.machines.perform(effects)
        return JSONResponse({"id": account_id, "balance_usd": balance})
