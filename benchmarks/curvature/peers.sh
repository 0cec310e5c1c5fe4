#!/usr/bin/env bash
# The peers' environments, at the versions the benchmark was written for: .venv-peers/a holds PyHessian, curvlinops and
# hessian-eigenthings, .venv-peers/b Landscaper, which needs numpy below 2. Usage: peers.sh PYTHON FOLDER TORCH
# (`make peers`). Landscaper needs a Python below 3.13.
set -euo pipefail
python=${1:?give a Python 3.11 or 3.12} folder=${2:?give a folder} torch=${3:?give the version of torch}

environment() {  # environment NAME: made anew
	"$python" -m venv --clear "$folder/$1"
}
install() {  # install NAME ARGUMENTS...
	local name=$1
	shift
	"$folder/$name/bin/python" -m pip --disable-pip-version-check --quiet install "$@"
}

echo "PyHessian, curvlinops and hessian-eigenthings into $folder/a ..."
environment a
install a "torch==$torch" numpy==2.4.6 scipy==1.17.1
install a tqdm einops einconv opt-einsum linear_operator
# Their own wishes for torch and torchvision would replace the torch that landform is measured with.
install a --no-deps backpack-for-pytorch==1.7.1 unfoldNd==0.2.3 curvlinops-for-pytorch==3.0.1 pyhessian==0.1
install a --no-deps --pre hessian-eigenthings==1.0.0a5
touch "$folder/a/.is-set-up"

echo "Landscaper into $folder/b ..."
environment b
install b "torch==$torch" 'numpy<2'
install b landscaper==1.3.1 'numpy<2'
touch "$folder/b/.is-set-up"
