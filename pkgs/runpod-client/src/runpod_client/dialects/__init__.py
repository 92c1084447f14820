"""The wires RunPod speaks, each behind `runpod_client.cloud.Cloud`.

Nothing above sees a wire name. A dialect is a `Cloud` and the pure modules it stands
on, whose names begin alike:

    graphql   graphql_calls graphql_documents graphql_inputs graphql_records graphql_wire
    rest_v2   rest_calls rest_bodies rest_records rest_wire
    routing   both as one, by `capabilities` (what is where) and `decisions` (what is
              there at all)

RunPod retires GraphQL early in 2027: it then answers HTTP 410, `routing` goes on over
REST v2, and what v2 lacks fails as `CapabilityRetiredError`.
"""
