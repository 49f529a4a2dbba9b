# SPDX-License-Identifier: Apache-2.0
"""The report as files, and in words."""
