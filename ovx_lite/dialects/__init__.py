"""The products whose ingestion APIs we speak: one file each, one line here."""

from ovx_lite.dialects import apex, openanalytics, overcentric, ovyxa
from ovx_lite.dialects.schema import Endpoint

ENDPOINTS: tuple[Endpoint, ...] = (
    *ovyxa.ENDPOINTS,
    *overcentric.ENDPOINTS,
    *apex.ENDPOINTS,
    *openanalytics.ENDPOINTS,
)
