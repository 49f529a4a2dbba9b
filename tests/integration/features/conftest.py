# SPDX-License-Identifier: Apache-2.0
"""The tests of builds run over both stores."""

from tests.integration.storage.conftest import place as place
