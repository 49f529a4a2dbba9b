# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh disable=SC2034,SC2154
#
# Questions and their answers, one line each; the first letter says what the line is. Functions only.
#
#   J key generation state exit-code started finished acknowledged digest epoch TAB folder TAB reason
#   N            the key has no generation
#   R            somebody was faster: ask again
#   O 0|1        whether the caller is the owner
#   E kind text  refused
#   B ended      bytes follow, up to the end of the answer

mlb_say() {
    printf '%s\n' "$*"
}

mlb_report() {
    mlb_generation=${mlb_dir##*/}
    mlb_job=${mlb_dir%/*}
    printf 'J %s %s %s %s %s %s %s %s %s\t%s\t%s\n' "${mlb_job##*/}" "$mlb_generation" "$mlb_state" \
        "$mlb_code" "$mlb_started" "$mlb_finished" "$mlb_acknowledged" "$mlb_digest" "$mlb_epoch" \
        "$mlb_dir" "$mlb_reason"
}

mlb_newest() { # key
    mlb_top=0
    for mlb_entry in "$mlb_root/jobs/$1"/*/claim; do
        mlb_number=${mlb_entry%/claim}
        mlb_number=${mlb_number##*/}
        case $mlb_number in '' | *[!0-9]*) continue ;; esac
        [ "$mlb_number" -gt "$mlb_top" ] && mlb_top=$mlb_number
    done
    if [ "$mlb_top" -eq 0 ]; then
        mlb_say N
        return
    fi
    mlb_look "$mlb_root/jobs/$1/$mlb_top"
    mlb_report
}

mlb_home() { # without its folder the host knows nothing of any job: a disk that is not mounted looks so
    [ -d "$mlb_root/jobs" ] && return 0
    mlb_say E gone "the folder $mlb_root/jobs does not exist"
    return 1
}

mlb_status() { # key generation ...
    while [ $# -ge 2 ]; do
        mlb_look "$mlb_root/jobs/$1/$2"
        mlb_report
        shift 2
    done
}

mlb_sizes() { # key generation ...: one process for all of them
    [ $# -gt 0 ] || return 0
    mlb_count=$(($# / 2))
    while [ "$mlb_count" -gt 0 ]; do
        set -- "$@" "$mlb_root/jobs/$1/$2/log"
        shift 2
        mlb_count=$((mlb_count - 1))
    done
    LC_ALL=C ls -nd "$@" 2>/dev/null
}

mlb_log() { # key generation first-block blocks: whole blocks, because only they can be sought in POSIX
    mlb_dir=$mlb_root/jobs/$1/$2
    mlb_ended=0
    [ -e "$mlb_dir/end" ] && mlb_ended=1
    mlb_say B "$mlb_ended"
    [ -f "$mlb_dir/log" ] && dd if="$mlb_dir/log" bs=4096 skip="$3" count="$4" 2>/dev/null
}

mlb_result() { # key generation blocks
    mlb_look "$mlb_root/jobs/$1/$2"
    mlb_report
    mlb_say B 1
    [ "$mlb_state" = succeeded ] && [ -f "$mlb_dir/result.json" ] &&
        dd if="$mlb_dir/result.json" bs=4096 count="$3" 2>/dev/null
}

# Only the present owner may cancel. Taking over and cancelling are the next "turn", whichever comes first:
# a cancel that was on its way when a new attempt adopted the job finds the turn taken and is refused.
mlb_cancel() { # key generation owner reason
    while :; do
        mlb_look "$mlb_root/jobs/$1/$2"
        if [ "$mlb_state" = missing ] || [ "$mlb_owner" != "$3" ]; then
            mlb_say O 0
            return
        fi
        case $mlb_state in
            succeeded | failed | cancelled | timed_out | lost)
                mlb_say O 1
                return
                ;;
        esac
        [ "$mlb_cancelled" = 1 ] && break
        mlb_publish "turn.$((mlb_turn + 1))" "cancel $3 $4"
        case $? in
            0) break ;;
            1) ;;
            *)
                mlb_say E storage "$mlb_why"
                return
                ;;
        esac
    done
    (
        trap '' HUP
        mlb_role=stopper
        mlb_stop
    ) </dev/null >/dev/null 2>&1 &
    mlb_say O 1
}

mlb_acknowledge() { # key generation owner
    mlb_look "$mlb_root/jobs/$1/$2"
    if [ "$mlb_state" = missing ] || [ "$mlb_owner" != "$3" ]; then
        mlb_say O 0
        return
    fi
    mlb_publish ack "$3"
    if [ $? -eq 2 ]; then
        mlb_say E storage "$mlb_why"
        return
    fi
    mlb_say O 1
}
