"""Frames and time: everything that touches a media file, and nothing that touches a service.

The package knows files and PyAV; it knows no broker, no database, no object store and no telemetry. Frame numbers are
ordinals of decoded frames in presentation order, times are exact ratios, and whatever decodes only in part is an
error that says how much is missing.
"""
