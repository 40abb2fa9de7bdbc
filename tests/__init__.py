import pytest

pytest.register_assert_rewrite("tests.support")  # its assertions say what they have compared, as those of tests do
