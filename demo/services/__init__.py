# SPDX-License-Identifier: Apache-2.0
"""Real servers for the demonstration and the tests, each in a module that owns its processes."""
