# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh disable=SC2034,SC2088,SC2154
#
# The files of one generation of a training, and how its state is read from them.
#
# Every file below $mlb_root/jobs/KEY/GENERATION that carries state is created once, by link(2), and never
# changed afterwards: the first writer wins, and there is no lock that could go stale.
#
#   claim        digest epoch owner seconds clock          somebody will start this generation
#   turn.1 ...   own epoch owner | cancel owner reason     who may cancel, and whether somebody did
#   supervisor   pid start boot                            the one that waits for the training
#   child        pid start boot time mark seconds ooms     the training itself; "void - - -": it never runs
#   group        control groups                            where all its processes are, if it has one of its own
#   timeout      seconds                                   it ran longer than allowed
#   stopper.1 .. pid start boot                            who ends its processes
#   end          state exit-code time reason               it is over
#   ack          owner                                     the task has returned the result
#
# Besides, without a say in the state: command, request.json, log, result.json and progress of the training,
# "shown" (how much of the log was passed on) and .spare.1 ..., which mlb_publish takes when the disk is full.
#
# POSIX sh only (dash, bash, busybox ash); no "local". This text defines functions and runs nothing, so a
# stream that is cut off before the last line of the script has no effect.

mlb_prepare() { # root folder
    [ "$mlb_brought" = 0 ] || mlb_umask=$(umask) # the training gets it back
    umask 077
    unset CDPATH
    mlb_role=main
    mlb_judgements=0 mlb_stops=0
    case $1 in
        '~/'*) mlb_root=$HOME/${1#'~/'} ;;
        /*) mlb_root=$1 ;;
        *) mlb_root=$HOME/$1 ;;
    esac
    mlb_boot=
    { read -r mlb_boot <"$mlb_proc/sys/kernel/random/boot_id"; } 2>/dev/null ||
        mlb_boot=$(sysctl -n kern.boottime 2>/dev/null | tr -cd '0-9')
    mlb_boot=${mlb_boot:--}
}

mlb_now() {
    mlb_time=$(date -u +%Y-%m-%dT%H:%M:%SZ)
}

# Set $mlb_seconds by a clock that nobody sets, and $mlb_clock to the boot that it counts from. Where there is
# none, it is the time of day and "-".
mlb_tick() {
    mlb_clock=$mlb_boot
    if [ "$mlb_boot" != - ] && { read -r mlb_seconds mlb_idle <"$mlb_proc/uptime"; } 2>/dev/null; then
        mlb_seconds=${mlb_seconds%%.*}
    else
        mlb_seconds=$(date +%s) mlb_clock=-
    fi
}

mlb_pause() { # a moment; fractions of a second are common but not POSIX
    sleep 0.1 2>/dev/null || sleep 1
}

# Create $mlb_dir/$1 with the line $2. 0: done; 1: it was there already; 2: impossible, $mlb_why says why.
mlb_publish() {
    mlb_private=$mlb_dir/.$mlb_nonce.$mlb_role
    # A private file left by a crash may be linked to a published name: unlink it, never write into it.
    rm -f "$mlb_private"
    mlb_why=$({
        printf '%s\n' "$2" >"$mlb_private" && ln "$mlb_private" "$mlb_dir/$1"
    } 2>&1)
    mlb_failed=$?
    mlb_spare=''
    if [ "$mlb_failed" -ne 0 ] && ! [ -e "$mlb_dir/$1" ] && mlb_take_spare "$1"; then
        mlb_why=$({
            printf '%s\n' "$2" 3<>"$mlb_private" >&3 && ln "$mlb_private" "$mlb_dir/$1"
        } 2>&1)
        mlb_failed=$?
        [ "$mlb_failed" -eq 0 ] || mv "$mlb_private" "$mlb_spare" 2>/dev/null
    fi
    rm -f "$mlb_private"
    [ "$mlb_failed" -eq 0 ] && return 0
    [ -e "$mlb_dir/$1" ] && return 1
    mlb_explain "$mlb_why" "$mlb_dir/$1 cannot be written: the disk may be full"
    return 2
}

# On a full disk a link is still possible, a line is not. So every generation has a few files with room for
# one: the first who renames it may write over it, which needs no space. (File systems that never write in
# place, such as btrfs and ZFS, need some all the same.)
# Not "1<>": within $( ) bash 5.2 then writes to the pipe.
mlb_take_spare() { # name that is to be published
    # Who stops the job is good to know; the spares are for what must be known.
    case $1 in stopper.* | group) return 1 ;; esac
    for mlb_spare in "$mlb_dir"/.spare.*; do
        rm -f "$mlb_private"
        [ -e "$mlb_spare" ] && mv "$mlb_spare" "$mlb_private" 2>/dev/null && return 0
    done
    return 1
}

mlb_stock() { # lay in spares; not 0: there is no room for them
    for mlb_number in 1 2 3 4; do
        [ -e "$mlb_dir/.spare.$mlb_number" ] && continue
        printf '%2048s\n' '' >"$mlb_dir/.$mlb_nonce.spare" &&
            mv "$mlb_dir/.$mlb_nonce.spare" "$mlb_dir/.spare.$mlb_number" || return 1
    done
}

mlb_explain() { # text of a tool, what to say when it said nothing: one line in $mlb_why
    mlb_why=$(
        set -f
        # shellcheck disable=SC2086
        set -- ${1:-$2}
        printf '%s' "$*"
    )
}

# Identity of the shell that runs this function, without starting a process where there is /proc: the shell
# itself opens "self", so that a subshell sees its own number and not that of $$.
mlb_self() {
    if { read -r mlb_line <"$mlb_proc/self/stat"; } 2>/dev/null; then
        mlb_pid=${mlb_line%% *}
        mlb_start_time "${mlb_line##*) }"
    else
        mlb_pid=$(exec sh -c 'echo $PPID')
        mlb_started_by_ps "$mlb_pid"
    fi
    mlb_identity="$mlb_pid $mlb_start $mlb_boot"
}

mlb_start_time() { # what follows the name in /proc/PID/stat; the name itself may hold blanks and brackets
    # shellcheck disable=SC2086
    set -- $1
    mlb_run_state=$1 mlb_parent=$2 mlb_session=$4 mlb_start=${20}
}

mlb_started_by_ps() { # pid
    mlb_start=$(LC_ALL=C ps -o lstart= -p "$1" 2>/dev/null | tr -s ' \n' '__')
    mlb_run_state=$(LC_ALL=C ps -o state= -p "$1" 2>/dev/null)
}

mlb_alive() { # pid start boot: the same process, not a zombie and not another one with its number
    [ "$3" = "$mlb_boot" ] || return 1
    if [ -r "$mlb_proc/self/stat" ]; then
        { read -r mlb_line <"$mlb_proc/$1/stat"; } 2>/dev/null || return 1
        mlb_start_time "${mlb_line##*) }"
    else
        mlb_started_by_ps "$1"
    fi
    [ "$mlb_start" = "$2" ] || return 1
    case $mlb_run_state in Z* | X*) return 1 ;; esac
}

mlb_read_child() {
    mlb_child_pid='' mlb_child_start=- mlb_child_boot=- mlb_started=- mlb_mark='' mlb_since_tick='' mlb_ooms=-
    [ -e "$mlb_dir/child" ] || return 1
    read -r mlb_child_pid mlb_child_start mlb_child_boot mlb_started mlb_mark mlb_since_tick mlb_ooms \
        <"$mlb_dir/child"
}

mlb_read_turns() { # who owns the job now, and whether it was cancelled
    read -r mlb_digest mlb_epoch mlb_owner mlb_claimed mlb_claim_clock <"$mlb_dir/claim"
    mlb_digest=${mlb_digest:--} mlb_epoch=${mlb_epoch:-0} mlb_owner=${mlb_owner:--} mlb_claimed=${mlb_claimed:-0}
    mlb_claim_clock=${mlb_claim_clock:--}
    mlb_turn=0 mlb_cancelled=0 mlb_cancel_reason=''
    while [ -e "$mlb_dir/turn.$((mlb_turn + 1))" ]; do
        mlb_turn=$((mlb_turn + 1))
        read -r mlb_kind mlb_second mlb_third mlb_rest <"$mlb_dir/turn.$mlb_turn"
        case $mlb_kind in
            own) mlb_epoch=$mlb_second mlb_owner=$mlb_third ;;
            cancel) mlb_cancelled=1 mlb_cancel_reason="$mlb_third $mlb_rest" ;;
        esac
    done
}

# Whether a claim is so old that its claimer will not go on with it; a clock that was set back counts as old,
# because to void a claim too early is safe and to wait for ever is not.
mlb_claim_is_old() {
    mlb_tick
    if [ "$mlb_claim_clock" = - ]; then
        mlb_seconds=$(date +%s)
    elif [ "$mlb_claim_clock" != "$mlb_clock" ]; then
        return 0
    fi
    mlb_age=$((mlb_seconds - mlb_claimed))
    [ "$mlb_age" -lt 0 ] || [ "$mlb_age" -gt "$mlb_patience" ]
}

mlb_watched() { # whether the supervisor lives
    [ -e "$mlb_dir/supervisor" ] || return 1
    read -r mlb_pid mlb_since mlb_since_boot <"$mlb_dir/supervisor"
    mlb_alive "$mlb_pid" "$mlb_since" "$mlb_since_boot"
}

# Set $mlb_state and all that belongs to it for the generation in folder $1; judge it where nobody else can.
mlb_look() {
    mlb_dir=$1
    mlb_state=missing mlb_code=- mlb_started=- mlb_finished=- mlb_reason='' mlb_acknowledged=0
    mlb_digest=- mlb_epoch=0 mlb_owner=- mlb_leads=0
    [ -e "$mlb_dir/claim" ] || return 0
    mlb_read_turns
    mlb_read_child
    [ -e "$mlb_dir/ack" ] && mlb_acknowledged=1
    if [ -e "$mlb_dir/end" ]; then
        mlb_read_end
        return 0
    fi
    mlb_judge
    case $mlb_state in
        claimed | starting | running | orphaned) ;;
        *) return 0 ;;
    esac
    # Somebody was to end its processes, and may have been killed before it did.
    if [ "$mlb_cancelled" = 1 ] || [ -e "$mlb_dir/timeout" ]; then
        if [ "$mlb_leads" = 1 ] || [ -z "$mlb_child_pid" ]; then mlb_see_to_the_stop; fi
    fi
    [ "$mlb_cancelled" = 1 ] && mlb_state=cancelling
    return 0
}

mlb_read_end() {
    read -r mlb_state mlb_code mlb_finished mlb_reason <"$mlb_dir/end"
    # A file system may keep the name and lose the content when the host goes down.
    [ -n "$mlb_state" ] ||
        mlb_state=lost mlb_code=- mlb_finished=- mlb_reason='the host went down while it recorded the end'
}

# Without an end: is anybody there? Whoever finds that nobody is takes the name "child" first and only then
# writes the end. A training that was forked, but had not yet published itself, finds the name taken and does
# not run; without that it could run beside the next generation.
mlb_judge() {
    mlb_lost_reason='it was never started'
    if [ -z "$mlb_child_pid" ]; then
        if mlb_watched; then
            mlb_state=starting
            return
        elif [ -e "$mlb_dir/supervisor" ]; then
            mlb_lost_reason='its supervisor is gone and the training was not started'
        elif ! mlb_claim_is_old; then
            mlb_state=claimed
            return
        else
            mlb_lost_reason="it was claimed, but not started within $mlb_patience seconds"
        fi
        if mlb_is_much; then
            mlb_state=starting
            return
        fi
        mlb_publish child 'void - - -'
        if [ $? -eq 2 ]; then
            mlb_state=starting mlb_reason="this cannot be recorded: $mlb_why"
            return
        fi
        mlb_read_child
    fi
    if [ "$mlb_child_pid" = void ]; then
        mlb_started=-
        mlb_settle - "$mlb_lost_reason"
    elif mlb_alive "$mlb_child_pid" "$mlb_child_start" "$mlb_child_boot"; then
        mlb_state=orphaned mlb_leads=1
        if mlb_watched; then mlb_state=running; fi
    elif mlb_watched; then
        mlb_state=running # its supervisor is about to write the end
    elif [ "$mlb_child_boot" != "$mlb_boot" ]; then
        mlb_settle - 'the host was restarted while the training ran'
    elif mlb_is_much; then
        mlb_state=orphaned mlb_reason='its processes are gone; the next look judges it'
    else
        mlb_signal KILL
        mlb_lost_reason='the training and its supervisor are gone'
        mlb_find_oom 1
        mlb_settle - "$mlb_lost_reason: ${mlb_oom_reason:-killed, or out of memory}"
    fi
}

# Many lost jobs at once (the host ran out of memory, and took them all) must not take so long to judge that
# the answer for all comes too late.
mlb_is_much() {
    mlb_judgements=$((mlb_judgements + 1))
    [ "$mlb_judgements" -gt 20 ]
}

# Write the end for exit code $1 (or -) and reason $2, unless somebody was first; then read what holds.
# 0: recorded; 2: it cannot be.
mlb_settle() {
    mlb_verdict=lost mlb_verdict_code=$1 mlb_verdict_reason=$2
    if [ "$mlb_cancelled" = 1 ]; then
        mlb_verdict=cancelled mlb_verdict_reason=$mlb_cancel_reason
    elif [ -e "$mlb_dir/timeout" ]; then
        read -r mlb_limit <"$mlb_dir/timeout"
        mlb_verdict=timed_out mlb_verdict_reason="it ran longer than its timeout of $mlb_limit seconds"
    elif [ "$1" = 0 ]; then
        mlb_verdict=succeeded
    elif [ "$1" != - ]; then
        mlb_verdict=failed
    fi
    mlb_now
    mlb_publish end "$mlb_verdict $mlb_verdict_code $mlb_time $mlb_verdict_reason"
    if [ $? -eq 2 ]; then
        mlb_state=orphaned mlb_reason="the training is over, but this cannot be recorded: $mlb_why"
        return 2
    fi
    mlb_leave_group
    mlb_read_end
}
