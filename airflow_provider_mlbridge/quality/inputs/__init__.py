# SPDX-License-Identifier: Apache-2.0
"""Where expectations come from."""
