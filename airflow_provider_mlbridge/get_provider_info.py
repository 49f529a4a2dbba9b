# SPDX-License-Identifier: Apache-2.0
"""What Airflow reads to find the provider. Imports nothing: it runs while Airflow's configuration loads."""

from __future__ import annotations

from typing import Any

_NAME = "MLBridge"

_SSH_FIELDS: dict[str, Any] = {
    "private_key": {
        "label": "Private key",
        "description": "PEM text of the key that the training user accepts.",
        "schema": {"type": ["string", "null"], "format": "password"},
    },
    "key_file": {
        "label": "Private key file",
        "description": "Path on the Airflow workers and triggerers, instead of the text.",
        "schema": {"type": ["string", "null"]},
    },
    "private_key_passphrase": {
        "label": "Passphrase of the private key",
        "schema": {"type": ["string", "null"], "format": "password"},
    },
    "host_key": {
        "label": "Host key",
        "description": "What ssh-keyscan -t ed25519 HOST prints, without the host: ssh-ed25519 AAAA...",
        "schema": {"type": ["string", "null"]},
    },
    "known_hosts": {
        "label": "Known-hosts file",
        "description": "Path on the Airflow workers and triggerers, instead of one host key.",
        "schema": {"type": ["string", "null"]},
    },
    "agent": {
        "label": "SSH agent",
        "description": "true: the keys of the agent in SSH_AUTH_SOCK; or the path of an agent's socket.",
        "schema": {"type": ["string", "null"]},
    },
    "jobs_dir": {
        "label": "Folder for jobs",
        "description": "On the training host; a local disk.",
        "schema": {"type": ["string", "null"], "default": "~/.mlbridge"},
    },
    "jump_host": {
        "label": "Jump host",
        "description": "Connect through this host; it must allow TCP forwarding.",
        "schema": {"type": ["string", "null"]},
    },
    "jump_port": {
        "label": "Port of the jump host",
        "schema": {"type": ["integer", "null"], "minimum": 1, "maximum": 65535, "default": 22},
    },
    "jump_login": {
        "label": "User on the jump host",
        "description": "The training user, unless given.",
        "schema": {"type": ["string", "null"]},
    },
    "jump_host_key": {
        "label": "Host key of the jump host",
        "description": "As the host key above; verified as well.",
        "schema": {"type": ["string", "null"]},
    },
    "jump_private_key": {
        "label": "Private key for the jump host",
        "description": "PEM text; the key or agent for the training host, unless given.",
        "schema": {"type": ["string", "null"], "format": "password"},
    },
    "jump_key_file": {
        "label": "Private key file for the jump host",
        "description": "Path on the Airflow workers and triggerers, instead of the text.",
        "schema": {"type": ["string", "null"]},
    },
    "jump_private_key_passphrase": {
        "label": "Passphrase of the jump host's private key",
        "schema": {"type": ["string", "null"], "format": "password"},
    },
    "jump_password": {
        "label": "Password on the jump host",
        "description": "The training user's password is never sent to it.",
        "schema": {"type": ["string", "null"], "format": "password"},
    },
}

_API_FIELDS: dict[str, Any] = {
    "auth": {
        "label": "Authentication",
        "description": "bearer and api_key take the secret from the password field.",
        "schema": {"type": "string", "enum": ["bearer", "basic", "api_key", "none"], "default": "bearer"},
    },
    "api_key_header": {
        "label": "Header of the API key",
        "schema": {"type": ["string", "null"], "default": "X-API-Key"},
    },
    "ca_file": {
        "label": "CA file",
        "description": "Certificate authorities to verify TLS with, when the system's do not do.",
        "schema": {"type": ["string", "null"]},
    },
    "timeout": {
        "label": "Time-out of a request, seconds",
        "schema": {"type": ["number", "null"], "minimum": 1, "default": 30},
    },
}


def get_provider_info() -> dict[str, Any]:
    """Provider metadata in the shape of Airflow's ``provider_info.schema.json``."""
    package = "airflow_provider_mlbridge"
    return {
        "package-name": "airflow-provider-mlbridge",
        "name": _NAME,
        "description": "From a validated Parquet datamart to a trained model.",
        "integrations": [
            {
                "integration-name": _NAME,
                "external-doc-url": "https://pypi.org/project/airflow-provider-mlbridge/",
                "tags": ["software"],
            }
        ],
        "operators": [
            {
                "integration-name": _NAME,
                "python-modules": [
                    f"{package}.operators.datamart_quality",
                    f"{package}.operators.feature_build",
                    f"{package}.operators.ml_training_trigger",
                ],
            }
        ],
        "sensors": [{"integration-name": _NAME, "python-modules": [f"{package}.sensors.datamart"]}],
        "hooks": [
            {"integration-name": _NAME, "python-modules": [f"{package}.hooks.ssh", f"{package}.hooks.api"]}
        ],
        "triggers": [
            {
                "integration-name": _NAME,
                "python-modules": [f"{package}.triggers.datamart", f"{package}.triggers.training"],
            }
        ],
        "extra-links": [f"{package}.links.TrainingRunLink"],
        "connection-types": [
            {
                "connection-type": "mlbridge_ssh",
                "hook-class-name": f"{package}.hooks.ssh.MLBridgeSSHHook",
                "hook-name": "ML training host (SSH)",
                "ui-field-behaviour": {
                    "hidden-fields": ["schema"],
                    "relabeling": {"login": "Training user", "host": "Training host"},
                    "placeholders": {"host": "train-1.example.com", "port": "22", "login": "mlops"},
                },
                "conn-fields": _SSH_FIELDS,
            },
            {
                "connection-type": "mlbridge_api",
                "hook-class-name": f"{package}.hooks.api.MLBridgeAPIHook",
                "hook-name": "ML training service (HTTP)",
                "ui-field-behaviour": {
                    "hidden-fields": ["schema"],
                    "relabeling": {
                        "host": "Base URL",
                        "login": "User (basic only)",
                        "password": "Token, key or password",
                    },
                    "placeholders": {"host": "https://training.example.com"},
                },
                "conn-fields": _API_FIELDS,
            },
        ],
    }
