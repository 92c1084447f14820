import pytest

from runpod_client import (
    APIError,
    AuthenticationError,
    CapabilityMissingError,
    CapabilityRetiredError,
    InsufficientBalanceError,
    NoCapacityError,
    NotFoundError,
    RateLimitedError,
    RejectedError,
    UnavailableError,
)
from runpod_client.refusals import (
    Problem,
    Refusal,
    classify,
    render_error,
    render_problem,
)

OUT_OF_STOCK = (
    "There are no longer any instances available with the requested specifications. "
    "Please refresh and try again."
)


def render(detail: str, status: int, *errors: str) -> APIError:
    return render_problem(
        Problem(title="T", status=status, detail=detail, errors=errors),
        operation="createPod",
        http_status=status,
        request_id="r1",
    )


# texts and codes of docs/runpod-api.md, as public clients have seen them
@pytest.mark.parametrize(
    ("message", "code", "expected"),
    [
        (OUT_OF_STOCK, "SUPPLY_CONSTRAINT", NoCapacityError),
        (OUT_OF_STOCK.replace("requested", "request"), "", NoCapacityError),
        (
            "There are no instances available with the request specifications.",
            "",
            NoCapacityError,
        ),
        ("There are no instances currently available", "", NoCapacityError),
        (
            "This machine does not have the resources to deploy your pod. "
            "Please try a different machine",
            "",
            NoCapacityError,
        ),
        (
            "could not find any pods with required specifications",
            "INTERNAL_SERVER_ERROR",
            NoCapacityError,
        ),
        (
            "There are not enough free GPUs on the host machine to start this pod.",
            "INTERNAL_SERVER_ERROR",
            NoCapacityError,
        ),
        (
            "Renting this pod would put you over your current spending limit",
            "",
            InsufficientBalanceError,
        ),
        ("anything", "INSUFFICIENT_BALANCE", InsufficientBalanceError),
        ("pod not found to terminate", "POD_NOT_FOUND", NotFoundError),
        (
            "Something went wrong. Please try again later or contact support.",
            "INTERNAL_SERVER_ERROR",
            UnavailableError,
        ),
        ("who are you", "UNAUTHENTICATED", AuthenticationError),
        (
            "Cannot resume a spot pod as an on demand pod.",
            "INTERNAL_SERVER_ERROR",
            RejectedError,
        ),
        ("Model Repo feature is not enabled for this user", "RUNPOD", RejectedError),
        (
            'Cannot query field "podStop" on type "Mutation".',
            "GRAPHQL_VALIDATION_FAILED",
            CapabilityMissingError,
        ),
    ],
)
def test_graphql_refusals_are_told_by_known_message_then_code(
    message: str, code: str, expected: type[Exception]
) -> None:
    assert classify(message, code) is expected


@pytest.mark.parametrize(
    ("detail", "status", "expected"),
    [
        (OUT_OF_STOCK, 400, NoCapacityError),
        ("both persistent and network are set", 400, RejectedError),
        ("anything", 401, AuthenticationError),
        ("anything", 402, InsufficientBalanceError),
        ("anything", 403, AuthenticationError),
        ("pod not found", 404, NotFoundError),
        ("cannot stop a pod that is EXITED", 409, RejectedError),
        ("withdrawn", 410, CapabilityRetiredError),
        ("slow down", 429, RateLimitedError),
        ("broken", 500, UnavailableError),
        ("not yet", 501, CapabilityMissingError),
        (
            "There are not enough free GPUs on the host machine to start this pod.",
            409,
            NoCapacityError,
        ),
    ],
)
def test_rest_problems_are_told_by_known_detail_then_status(
    detail: str, status: int, expected: type[APIError]
) -> None:
    error = render(detail, status)

    assert type(error) is expected
    assert error.operation == "createPod"
    assert detail in error.message


def test_body_that_breaks_the_contract_names_each_key() -> None:
    error = render("invalid body", 422, "$.bogus: not allowed", "$.name: required")

    assert isinstance(error, RejectedError)
    assert error.messages == (
        "invalid body",
        "$.bogus: not allowed",
        "$.name: required",
    )
    assert error.message == (
        "RunPod refused createPod: invalid body; $.bogus: not allowed; $.name: required"
    )
    assert (error.http_status, error.request_id) == (422, "r1")


def test_problem_without_words_still_says_what_happened() -> None:
    error = render_problem(
        Problem(), operation="stopPod", http_status=418, request_id=""
    )

    assert error.message == "RunPod refused stopPod: HTTP 418"


def test_wrong_state_hints_at_a_look_at_the_state() -> None:
    assert "pods show" in render("cannot stop a pod that is EXITED", 409).hint


def test_hint_to_list_pods_is_given_for_pods_alone() -> None:
    pod, template = render("pod not found", 404), render("template not found", 404)

    assert "pods list" in pod.hint
    assert template.hint == ""


def test_first_of_several_refusals_decides_and_all_are_kept() -> None:
    two = [Refusal(message="a"), Refusal(message="pod not found")]

    error = render_error(two, operation="editPod")

    assert isinstance(error, RejectedError)
    assert error.messages == ("a", "pod not found")


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (
            'Variable "$input" got invalid value { env: [{ value: "hush; hush" }] };'
            ' Field "gpuCount" of required type "Int!" was not provided.',
            'Variable "$input" got invalid value;'
            ' Field "gpuCount" of required type "Int!" was not provided.',
        ),
        (
            'Variable "$input" got invalid value "hush" at "input.env"',
            'Variable "$input" got invalid value',
        ),
        ("nothing is repeated; here", "nothing is repeated; here"),
    ],
)
def test_input_that_graphql_repeats_is_not_shown(told: str, expected: str) -> None:
    error = render_error([Refusal(message=told)], operation="startSpotPod")

    assert error.message == f"RunPod refused startSpotPod: {expected}"


def test_endless_message_is_cut() -> None:
    error = render("x" * 100_000, 400)

    assert len(error.message) < 1000
