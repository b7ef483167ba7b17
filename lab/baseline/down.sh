#!/usr/bin/env bash
# Removes what up-*.sh made.
set -euo pipefail
kind delete cluster --name "${NAME:-baseline}"
