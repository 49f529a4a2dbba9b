# SPDX-License-Identifier: Apache-2.0
"""Mode ssh: whom to connect to, one shared connection per host, and the shell protocol spoken over it."""

from airflow_provider_mlbridge.training.ssh.target import SSHTarget

__all__ = ["SSHTarget"]
