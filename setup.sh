#!/bin/sh
# Installs what Plywood needs on Debian or Ubuntu and is not there yet, then runs the command that follows:
#
#     ./setup.sh cargo test --workspace
#
# What it may install: a C linker, which rustc calls; a Vulkan driver, Mesa's software one, where there is no driver
# at all; and Rust, by rustup's own installer. It changes nothing that is there.
set -eu

say() { echo "setup.sh: $*" >&2; }

# Files that announce a Vulkan driver to the loader; the variables are the loader's own.
vulkan_driver() {
    [ -n "${VK_DRIVER_FILES:-}${VK_ICD_FILENAMES:-}" ] && return 0
    for manifest in /usr/share/vulkan/icd.d/*.json /usr/local/share/vulkan/icd.d/*.json /etc/vulkan/icd.d/*.json; do
        [ -e "$manifest" ] && return 0
    done
    return 1
}

cargo_home=${CARGO_HOME:-$HOME/.cargo}
PATH=$PATH:$cargo_home/bin
export PATH

packages=
command -v cc >/dev/null || packages="$packages gcc libc6-dev"
# With Mesa's driver for OpenGL as well, on which the tests run too where it is there.
vulkan_driver || packages="$packages libvulkan1 mesa-vulkan-drivers libegl1 libgl1-mesa-dri"
rust=
if ! command -v cargo >/dev/null; then
    rust=missing
    command -v curl >/dev/null || packages="$packages ca-certificates curl"
fi

if [ -n "$packages" ]; then
    if ! command -v apt-get >/dev/null; then
        say "this is neither Debian nor Ubuntu; install the like of these, then run the command again:$packages"
        exit 1
    fi
    as_root=
    [ "$(id -u)" = 0 ] || as_root=sudo
    say "installing$packages"
    $as_root apt-get update -q >&2
    # shellcheck disable=SC2086 # both are lists of words
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends $packages >&2
fi
if [ -n "$rust" ]; then
    say "installing Rust into $cargo_home with rustup's installer (https://rustup.rs)"
    installer=$(mktemp)
    curl --proto '=https' --tlsv1.2 -sSf -o "$installer" https://static.rust-lang.org/rustup/rustup-init.sh
    # A fresh shell finds cargo; for this one, its place was put into PATH above.
    sh "$installer" -y --profile minimal >&2
    rm "$installer"
fi

[ $# = 0 ] || exec "$@"
