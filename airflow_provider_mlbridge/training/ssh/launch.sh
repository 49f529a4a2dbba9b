# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh disable=SC2034,SC2088,SC2154
#
# Claim or adopt a generation, start its supervisor, run the training. Functions only; the caller defines
# mlb_environment (the exports of the user), mlb_write_command and mlb_write_request.

mlb_refuse() { # reason; nothing was started
    mlb_sweep
    [ -e "$mlb_dir/claim" ] || rm -f "$mlb_dir"/.spare.* "$mlb_dir/shown"
    rmdir "$mlb_dir" 2>/dev/null
    mlb_say E storage "$1"
}

mlb_sweep() {
    rm -f "$mlb_dir/.$mlb_nonce.command" "$mlb_dir/.$mlb_nonce.request" "$mlb_dir/.$mlb_nonce.spare"
}

# Write command and request to private files: a full disk must be noticed before anything is claimed.
mlb_stage() {
    mlb_why=$({
        mkdir -p "$mlb_dir" &&
            mlb_write_command >"$mlb_dir/.$mlb_nonce.command" &&
            mlb_write_request >"$mlb_dir/.$mlb_nonce.request" &&
            { [ -e "$mlb_dir/shown" ] || printf '%20s\n' 0 >"$mlb_dir/shown"; } &&
            mlb_stock
    } 2>&1) && return 0
    mlb_explain "$mlb_why" "$mlb_dir cannot be written: the disk may be full"
    return 1
}

mlb_claim() { # generation digest epoch owner
    mlb_dir=$mlb_root/jobs/$mlb_key/$1
    # Where the one before was found a moment ago, there is a folder of jobs: it is not made anew on the disk
    # below one that was unmounted in between.
    if [ "$1" -gt 1 ] && ! [ -d "$mlb_root/jobs" ]; then
        mlb_say R
        return
    fi
    if ! mlb_stage; then
        mlb_refuse "$mlb_why"
        return
    fi
    mlb_tick
    mlb_publish claim "$2 $3 $4 $mlb_seconds $mlb_clock"
    case $? in
        0) mlb_begin ;;
        1)
            mlb_sweep
            mlb_say R
            ;;
        *) mlb_refuse "$mlb_why" ;;
    esac
}

# Whether owner $1 is an earlier try than owner $2; of owners that name no try (".7" at their end), none is.
mlb_is_earlier_try() {
    case $1 in *.*) ;; *) return 1 ;; esac
    case $2 in *.*) ;; *) return 1 ;; esac
    [ "${1##*.}" -lt "${2##*.}" ]
}

# Become the owner of a generation that is there already. A claim that nobody went on with is started when
# the caller brought what is needed for it.
mlb_adopt() { # generation epoch owner
    while :; do
        mlb_look "$mlb_root/jobs/$mlb_key/$1"
        case $mlb_state in
            missing | failed | cancelled | timed_out | lost)
                mlb_say R
                return
                ;;
        esac
        # An attempt from before a clear, whose submission was long on its way, may watch what a later one holds.
        [ "$2" -lt "$mlb_epoch" ] && break
        [ "$2" = "$mlb_epoch" ] && mlb_is_earlier_try "$3" "$mlb_owner" && break
        [ "$mlb_owner" = "$3" ] && [ "$mlb_epoch" = "$2" ] && break
        mlb_publish "turn.$((mlb_turn + 1))" "own $2 $3"
        case $? in
            0) break ;;
            1) ;;
            *)
                # The disk is full, and so many have adopted it that no spare is left. To watch it and to fetch
                # its result is possible all the same; to cancel it remains with the owner before.
                [ "$mlb_state" = claimed ] || break
                mlb_say E storage "$mlb_why"
                return
                ;;
        esac
    done
    mlb_stock 2>/dev/null || rm -f "$mlb_dir/.$mlb_nonce.spare"
    if [ "$mlb_brought" = 1 ] && [ "$mlb_state" = claimed ]; then
        if ! mlb_stage; then
            mlb_sweep
            mlb_say E storage "$mlb_why"
            return
        fi
        mlb_begin
    else
        mlb_look "$mlb_dir"
        mlb_report
    fi
}

# Start a supervisor (of several, the first one stays) and wait a moment for the training to be there.
mlb_begin() {
    # The digest covers both, so it does not matter whose copy it is.
    ln "$mlb_dir/.$mlb_nonce.command" "$mlb_dir/command" 2>/dev/null
    ln "$mlb_dir/.$mlb_nonce.request" "$mlb_dir/request.json" 2>/dev/null
    mlb_sweep
    (
        mlb_supervise
    ) </dev/null >/dev/null 2>&1 &
    mlb_round=0
    until [ -e "$mlb_dir/child" ] || [ -e "$mlb_dir/end" ] || [ "$mlb_round" -ge 50 ]; do
        mlb_round=$((mlb_round + 1))
        mlb_pause
    done
    mlb_look "$mlb_dir"
    mlb_report
}

# sshd has put this session's processes into a session of their own without a terminal, so a background
# process with no open channel outlives the connection; the training gets one more session of its own.
mlb_supervise() {
    trap '' HUP
    mlb_role=supervisor
    mlb_self
    mlb_publish supervisor "$mlb_identity" || return 0
    mlb_count_oom_kills
    (
        mlb_role=child
        mlb_train
    ) &
    mlb_training=$!
    (
        mlb_role=timer
        mlb_timer
    ) &
    mlb_alarm=$!
    wait "$mlb_training"
    mlb_exit=$?
    kill "$mlb_alarm" 2>/dev/null
    mlb_conclude
}

mlb_conclude() {
    until mlb_read_child; do # it could not publish itself, so it did not run
        mlb_publish child 'void - - -'
        [ -d "$mlb_dir" ] || return
        [ -e "$mlb_dir/child" ] || sleep 5
    done
    mlb_lost_reason=''
    if [ "$mlb_child_pid" != "$mlb_training" ]; then
        mlb_exit=- mlb_lost_reason='it was never started'
    else
        # What the training left in the background would run beside the next generation.
        mlb_read_turns
        [ "$mlb_cancelled" = 1 ] || [ -e "$mlb_dir/timeout" ] || mlb_signal TERM
        mlb_drain
    fi
    if [ "$mlb_exit" != 0 ] && [ "$mlb_exit" != - ]; then
        mlb_killed=0
        [ "$mlb_exit" = 137 ] && mlb_killed=1
        mlb_find_oom "$mlb_killed"
        mlb_lost_reason=$mlb_oom_reason
    fi
    # The training may be what filled the disk: its end waits until it can be written.
    while :; do
        mlb_read_turns
        mlb_settle "$mlb_exit" "$mlb_lost_reason" && return
        sleep 5
        [ -d "$mlb_dir" ] || return
    done
}

mlb_timer() {
    mlb_nap=''
    trap '[ -z "$mlb_nap" ] || kill "$mlb_nap" 2>/dev/null; exit 0' TERM
    sleep "$mlb_timeout" &
    mlb_nap=$!
    wait "$mlb_nap" || exit 0
    trap - TERM
    [ -e "$mlb_dir/end" ] && exit 0
    mlb_publish timeout "$mlb_timeout"
    mlb_take_the_stop
}

# The last steps before the user's command, in the process that becomes it. From here on the environment is
# the user's, so nothing is looked up in PATH any more.
mlb_train() {
    mlb_find_launcher
    mlb_self
    mlb_now
    mlb_tick
    mlb_publish child "$mlb_identity $mlb_time $mlb_nonce $mlb_seconds $mlb_oom_kills" || exit 125
    mlb_enter_group
    exec >>"$mlb_dir/log" 2>&1
    case $mlb_working_dir in
        '') ;;
        '~') cd || exit 1 ;;
        '~/'*) cd "$HOME/${mlb_working_dir#'~/'}" || exit 1 ;;
        *) cd -- "$mlb_working_dir" || exit 1 ;;
    esac
    mlb_environment
    MLBRIDGE_JOB_DIR=$mlb_dir
    MLBRIDGE_REQUEST_FILE=$mlb_dir/request.json
    MLBRIDGE_RESULT_FILE=$mlb_dir/result.json
    MLBRIDGE_PROGRESS_FILE=$mlb_dir/progress
    MLBRIDGE_JOB_MARK=$mlb_nonce
    export MLBRIDGE_JOB_DIR MLBRIDGE_REQUEST_FILE MLBRIDGE_RESULT_FILE MLBRIDGE_PROGRESS_FILE MLBRIDGE_JOB_MARK
    umask "$mlb_umask"
    set -f
    # shellcheck disable=SC2086
    exec $mlb_launcher "$mlb_shell" "$mlb_dir/command"
}

# What the command is started with: a session of its own, and signals as a login has them. What runs in the
# background of a shell ignores SIGINT and SIGQUIT (and ours SIGHUP), its children inherit that, and a shell
# cannot undo it. On a host with none of these tools it stays so.
mlb_find_launcher() {
    mlb_launcher=$(command -v setsid)
    if env --default-signal=HUP,INT,QUIT true; then
        mlb_launcher="$mlb_launcher $(command -v env) --default-signal=HUP,INT,QUIT"
        return
    fi
    # The words are split at blanks, so the programs have none.
    if perl -e 1; then
        mlb_program="\$SIG{\$_}='DEFAULT'for+qw/HUP/,qw/INT/,qw/QUIT/;exec{\$ARGV[0]}@ARGV"
        mlb_launcher="$mlb_launcher $(command -v perl) -e $mlb_program"
    elif python3 -c ''; then
        mlb_program="[__import__('signal').signal(n,0)for(n)in(1,2,3)]"
        mlb_program="$mlb_program;__import__('os').execvp(__import__('sys').argv[1],__import__('sys').argv[1:])"
        mlb_launcher="$mlb_launcher $(command -v python3) -c $mlb_program"
    fi
} 2>/dev/null
