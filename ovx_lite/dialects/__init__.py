"""The ingestion APIs of other products that the server accepts. To add one: a module, and a line in `ENDPOINTS`."""

from ovx_lite.dialects import apex, openanalytics, overcentric, ovyxa
from ovx_lite.dialects.schema import Endpoint

ENDPOINTS: tuple[Endpoint, ...] = (
    *ovyxa.ENDPOINTS,
    *overcentric.ENDPOINTS,
    *apex.ENDPOINTS,
    *openanalytics.ENDPOINTS,
)
