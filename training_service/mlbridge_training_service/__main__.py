# SPDX-License-Identifier: Apache-2.0
"""``python -m mlbridge_training_service`` is the command ``mlbridge-training-service``."""

from __future__ import annotations

import sys

from mlbridge_training_service.cli import main

if __name__ == "__main__":
    sys.exit(main())
