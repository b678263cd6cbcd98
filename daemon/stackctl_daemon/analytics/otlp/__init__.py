"""OpenTelemetry's protocol (OTLP over HTTP) in: spans, metrics and logs become events."""
