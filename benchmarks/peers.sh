#!/usr/bin/env bash
# The peers' environments, at the versions the benchmarks were written for: .venv-peers/a holds PyHessian, curvlinops and
# hessian-eigenthings, .venv-peers/b Landscaper, which needs numpy below 2, .venv-peers/nt neural-tangents, which needs an
# old JAX, .venv-peers/mergekit mergekit. Usage: peers.sh PYTHON FOLDER TORCH (`make peers`), with a Python 3.11 or 3.12.
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

# The last set of versions with which every implementation of neural-tangents runs.
echo "neural-tangents into $folder/nt ..."
environment nt
install nt neural-tangents==0.6.5 jax==0.4.25 jaxlib==0.4.25 numpy==1.26.4 scipy==1.12.0 ml_dtypes==0.5.4 \
	tensorflow==2.21.0 tf2jax==0.3.6
touch "$folder/nt/.is-set-up"

echo "mergekit into $folder/mergekit ..."
environment mergekit
install mergekit mergekit==0.1.5
touch "$folder/mergekit/.is-set-up"
