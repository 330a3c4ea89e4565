"""What schemathesis cannot make up by itself: page tokens. The API accepts as `after` only what it answered as `next`, and
its description says so by the format `page-token`."""

import os

import schemathesis
from hypothesis import strategies as st

schemathesis.openapi.format("page-token", st.sampled_from(os.environ["PAGE_TOKENS"].split()))
