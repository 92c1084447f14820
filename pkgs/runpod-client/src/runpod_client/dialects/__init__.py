"""The wires RunPod speaks, one module each, behind `runpod_client.cloud.Cloud`.

A dialect knows its documents or paths and how to read their answers; nothing above it
sees a wire name. `graphql` is the whole of it today. RunPod retires GraphQL early in
2027 (it then answers HTTP 410, which arrives as `CapabilityRetiredError`); a dialect
for its successor is another class with the methods of `Cloud`.
"""
