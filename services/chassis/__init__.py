"""How a service runs: settings, broker, inbox, work ledger, outbox, relay, objects, telemetry, health.

The chassis knows the envelope and the events for operators; it knows no video, no clip and no stage.
"""
