# SPDX-License-Identifier: Apache-2.0
"""
A fitted recipe in other forms: SQL, scikit-learn, ONNX.

Each form has a list of the steps that it knows, and refuses the others by name. Import from here nothing; use
the methods of :class:`~airflow_provider_mlbridge.features.FittedRecipe`.
"""
