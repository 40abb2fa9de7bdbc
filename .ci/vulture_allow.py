"""Names that vulture takes for unused, each with its user. See `[tool.vulture]` in `pyproject.toml`.

A name is allowed only if something outside of this code uses it. Delete what has no such user.
"""

# Methods that a library calls
_.format_commands  # click: ovx_lite/cli/lazy_group.py
_.formatMessage  # logging: ovx_lite/cli/logs.py
_.capture_signals  # uvicorn's Server: ovx_lite/cli/serve.py
_.run_asgi  # uvicorn's RequestResponseCycle: ovx_lite/http/fast_cycle.py
_.on_message_begin  # httptools: ovx_lite/http/framing.py
_.on_header  # httptools: ovx_lite/http/framing.py
_.on_chunk_complete  # httptools: ovx_lite/http/framing.py
_.data_received  # asyncio's Protocol: ovx_lite/http/protocol.py, benchmarks
_.connection_made  # asyncio's Protocol: ovx_lite/http/protocol.py, benchmarks
_.connection_lost
_.eof_received  # asyncio's Protocol: ovx_lite/http/protocol.py
_.send_400_response  # uvicorn's HttpToolsProtocol: ovx_lite/http/protocol.py
_.pause_writing  # uvicorn's HttpToolsProtocol: ovx_lite/http/request_buffer.py

# Attributes that a library reads
_.logger  # uvicorn's HttpToolsProtocol: ovx_lite/http/protocol.py
_.access_logger
_.ws_protocol_class
_.limit_concurrency
_.timeout_keep_alive_task
_.raiseExceptions  # logging: ovx_lite/cli/logs.py
_.should_exit  # uvicorn's Server: ovx_lite/cli/serve.py
_.redirect_slashes  # Starlette's Router: ovx_lite/app.py
_.body_iterator  # Starlette's StreamingResponse: ovx_lite/web/common/live_visitors.py
_.signer  # Starlette's SessionMiddleware: ovx_lite/web/common/sessions.py
_.log_errors  # re2's Options: ovx_lite/stats/filters.py
_.case_sensitive  # re2's Options: ovx_lite/stats/filters.py
_.max_mem  # re2's Options: ovx_lite/stats/filters.py
_.__traceback__  # the interpreter: ovx_lite/domain/errors.py

# Fields of responses, which msgspec encodes: ovx_lite/dialects
_.success  # Ovyxa, Overcentric
_.received  # Apex
_.queued  # OpenAnalytics

# Fields of tuples that are used as a whole: stored, exported, or compared
_.term  # Campaign: ovx_lite/domain/models.py
_.utm_source  # TrafficSource and the columns of the export: ovx_lite/domain/models.py, ovx_lite/storage/read/events.py
_.utm_medium
_.utm_campaign
_.utm_content
_.utm_term
_.sessionless_events  # the totals of a day: ovx_lite/storage/projection/rollup_writer.py

# Fields that templates/dashboard_parts.html shows: ovx_lite/web/ui/dashboard/chart.py
_.dashed
_.dots
_.ticks
_.hover_strips
_.wide_only

# A field that templates/parts.html shows: ovx_lite/web/common/context.py
_.secret_label

# The interface for tests of users: ovx_lite/pytest_plugin.py
_.advance
_.fault
_.hook
