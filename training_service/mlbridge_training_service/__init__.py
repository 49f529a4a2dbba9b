# SPDX-License-Identifier: Apache-2.0
"""A REST service that runs trainings on its host. Importing the package imports nothing else."""

__version__ = "0.1.0"
