#!/bin/sh
# The environment of the online service on this machine: Triton's server and mmprod, without torch. In the folder
# that has deploy/ and the constraints (the repository, or one written by `mmprod deploy`):
#
#     sh deploy/triton-environment.sh .venv-triton mmprod-0.1.0-py3-none-any.whl
#
# An environment of its own, as Triton's Python backend wants numpy below 2. The list is whole, so nothing is
# resolved: the wheel carries the server, and of what it would bring along the server needs nothing.
set -eu
environment=$1
shift # what is left names mmprod, as pip has it
bin=$environment/bin

test -x "$bin/python" || "${PYTHON:-python3}" -m venv "$environment"
"$bin/pip" install --quiet --no-deps --requirement "$(dirname "$0")/../constraints-triton.txt"
${ALONE:-} "$bin/pip" install --quiet --no-deps "$@" # ALONE: a command that keeps other builds out
server=$("$bin/python" -c "import sysconfig; print(sysconfig.get_path('purelib'))")/pytriton/tritonserver
version=$("$bin/python" -c "import sys; print('%d.%d' % sys.version_info[:2])")
cp "$server/python_backend_stubs/$version/triton_python_backend_stub" "$server/backends/python/"
"$bin/python" -P -c "import mmprod.serving.service"
touch "$environment/.installed"
