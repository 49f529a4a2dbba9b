# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh disable=SC2034,SC2154
#
# Control groups: one for the training where the host allows that without root, and what they and the kernel's
# log say about memory that ran out. Everything here is a help and may fail without consequence. Functions only.

mlb_find_group() { # set $mlb_group to the folder of this process's control group (version 2), else empty
    mlb_group=''
    while IFS=: read -r mlb_idle mlb_controllers mlb_path; do
        [ "$mlb_idle:$mlb_controllers" = 0: ] || continue
        for mlb_entry in "$mlb_cgroups" "$mlb_cgroups/unified"; do
            [ -e "$mlb_entry/cgroup.procs" ] && mlb_group=$mlb_entry${mlb_path%/}
        done
    done <"$mlb_proc/self/cgroup"
} 2>/dev/null

# Give this process, $mlb_pid, a control group of its own, so that none of its processes can hide: a scope of
# the user's systemd, or a folder below the present group where that is writable (in a container).
mlb_enter_group() {
    mlb_find_group
    mlb_before=$mlb_group
    [ -n "$mlb_before" ] || return 0
    # Without lingering, systemd ends the user's units together with the last login.
    if [ -e "$mlb_lingering/$(id -un)" ] && command -v busctl >/dev/null; then
        XDG_RUNTIME_DIR=${XDG_RUNTIME_DIR:-/run/user/$(id -u)} busctl --user call org.freedesktop.systemd1 \
            /org/freedesktop/systemd1 org.freedesktop.systemd1.Manager StartTransientUnit 'ssa(sv)a(sa(sv))' \
            "$mlb_nonce.scope" fail 1 PIDs au 1 "$mlb_pid" 0 >/dev/null
        mlb_round=0
        while [ "$mlb_round" -lt 10 ]; do
            mlb_round=$((mlb_round + 1))
            mlb_find_group
            case $mlb_group in
                *"/$mlb_nonce.scope")
                    mlb_publish group "$mlb_group"
                    return
                    ;;
            esac
            mlb_pause
        done
    fi
    mlb_group=$mlb_before/$mlb_nonce
    mkdir "$mlb_group" || return 0
    if ! mlb_publish group "$mlb_group" || ! echo "$mlb_pid" >"$mlb_group/cgroup.procs"; then
        rmdir "$mlb_group"
    fi
} 2>/dev/null

mlb_grouped() { # pids in the control group of the job in $mlb_dir, each followed by a blank
    [ -e "$mlb_dir/group" ] || return 0
    read -r mlb_group <"$mlb_dir/group"
    # Another boot may have given the path to somebody else, but not with our random word in it.
    for mlb_entry in "$mlb_group"/cgroup.procs "$mlb_group"/*/cgroup.procs; do
        [ -r "$mlb_entry" ] && while read -r mlb_number; do printf '%s ' "$mlb_number"; done <"$mlb_entry"
    done
} 2>/dev/null

mlb_leave_group() { # take away the control group of the job in $mlb_dir; systemd does so with its own
    [ -e "$mlb_dir/group" ] || return 0
    read -r mlb_group <"$mlb_dir/group"
    rmdir "$mlb_group"/*/ "$mlb_group"
} 2>/dev/null

# Set $mlb_oom_kills to how many processes the kernel killed in this control group because memory ran out, "-"
# when nobody tells.
mlb_count_oom_kills() {
    mlb_oom_kills=-
    while IFS=: read -r mlb_idle mlb_controllers mlb_path; do
        case ",$mlb_controllers," in
            ,,) mlb_files="$mlb_cgroups$mlb_path/memory.events $mlb_cgroups/memory.events" ;;
            *,memory,*)
                mlb_files="$mlb_cgroups/memory$mlb_path/memory.oom_control"
                mlb_files="$mlb_files $mlb_cgroups/memory/memory.oom_control"
                ;;
            *) continue ;;
        esac
        # Within a container the path may be that of the host: then the top is what we see of it.
        for mlb_entry in $mlb_files; do
            [ -r "$mlb_entry" ] || continue
            while read -r mlb_word mlb_value; do
                [ "$mlb_word" = oom_kill ] && mlb_oom_kills=$mlb_value
            done <"$mlb_entry"
            break
        done
    done <"$mlb_proc/self/cgroup"
} 2>/dev/null

# Set $mlb_oom_reason when memory ran out while the training of $mlb_dir ran; $1: 1 when it was killed, so that
# the kernel's log, which is about all of the host, may tell by whom.
mlb_find_oom() {
    mlb_oom_reason=''
    mlb_count_oom_kills
    case $mlb_ooms$mlb_oom_kills in
        *-*) ;;
        *)
            if [ "$mlb_oom_kills" -gt "$mlb_ooms" ]; then
                mlb_oom_reason='memory ran out: the kernel killed a process of its control group'
            fi
            ;;
    esac
    [ "$1" = 1 ] && [ -n "$mlb_since_tick" ] || return 0
    mlb_victim=$(
        dmesg | sed -n 's/^\[ *\([0-9]*\)\.[0-9]*\] .*[Kk]illed process \([0-9]* ([^)]*)\).*/\1 \2/p' |
            while read -r mlb_seconds mlb_text; do
                [ "$mlb_seconds" -ge "$mlb_since_tick" ] && printf '%s\n' "$mlb_text"
            done | tail -n 1
    )
    if [ -n "$mlb_victim" ]; then
        mlb_oom_reason="memory ran out on the host: its kernel log says that process $mlb_victim was killed"
    fi
    return 0
} 2>/dev/null
