# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh disable=SC2034,SC2154
#
# Questions and their answers, one line each; the first letter says what the line is. Functions only.
#
#   J key generation state exit-code started finished acknowledged digest epoch shown TAB folder TAB reason
#   P key generation text   what the training last said of its progress
#   N            the key has no generation
#   R            somebody was faster: ask again
#   O 0|1        whether the caller is the owner
#   E kind text  refused
#   C number     how many
#   B ended      bytes follow, up to the end of the answer
#
# After a line of the random word, "part", key, generation and ended, bytes of a log follow, up to the next
# such line. The word frames them, and not a length, because a log may shrink while it is read.

mlb_say() {
    printf '%s\n' "$*"
}

mlb_report() {
    mlb_generation=${mlb_dir##*/}
    mlb_job=${mlb_dir%/*}
    mlb_shown=-
    [ -e "$mlb_dir/shown" ] && read -r mlb_shown <"$mlb_dir/shown"
    printf 'J %s %s %s %s %s %s %s %s %s %s\t%s\t%s\n' "${mlb_job##*/}" "$mlb_generation" "$mlb_state" \
        "$mlb_code" "$mlb_started" "$mlb_finished" "$mlb_acknowledged" "$mlb_digest" "$mlb_epoch" \
        "${mlb_shown:--}" "$mlb_dir" "$mlb_reason"
}

mlb_newest() { # key
    mlb_top=0
    for mlb_entry in "$mlb_root/jobs/$1"/*/claim; do
        mlb_number=${mlb_entry%/claim}
        mlb_number=${mlb_number##*/}
        case $mlb_number in '' | *[!0-9]*) continue ;; esac
        [ "$mlb_number" -gt "$mlb_top" ] && mlb_top=$mlb_number
    done
    if [ "$mlb_top" -gt 0 ]; then
        mlb_look "$mlb_root/jobs/$1/$mlb_top"
        mlb_report
        return
    fi
    mlb_newest_reaped "$1"
    if [ "$mlb_top" -gt 0 ]; then
        mlb_look "$mlb_root/jobs/$1/$mlb_top"
        mlb_state=lost mlb_reason='it ended long ago, and what was kept of it was removed'
        mlb_report
        return
    fi
    mlb_say N
}

mlb_home() { # without its folder the host knows nothing of any job: a disk that is not mounted looks so
    [ -d "$mlb_root/jobs" ] && return 0
    mlb_say E gone "the folder $mlb_root/jobs does not exist"
    return 1
}

mlb_status() { # key generation ...
    while [ $# -ge 2 ]; do
        mlb_look "$mlb_root/jobs/$1/$2"
        # Of a job that was removed, the key is left as long as anybody may ask; a host that does not even
        # know the key has forgotten: a disk is not mounted, or it is another host.
        [ "$mlb_state" = missing ] && ! [ -d "$mlb_root/jobs/$1" ] && mlb_state=forgotten
        mlb_report
        shift 2
    done
}

# Keep how many bytes of logs were passed on. This is no state: the largest number stays, and one that was
# lost only shows lines again.
mlb_note_shown() { # key generation bytes ...
    while [ $# -ge 3 ]; do
        mlb_dir=$mlb_root/jobs/$1/$2
        mlb_shown=0
        if [ -e "$mlb_dir/claim" ]; then
            [ -e "$mlb_dir/shown" ] && read -r mlb_shown <"$mlb_dir/shown"
            # In place and of one width, so that it needs no space on a full disk.
            [ "$3" -le "${mlb_shown:-0}" ] || printf '%20s\n' "$3" 3<>"$mlb_dir/shown" >&3
        fi
        shift 3
    done 2>/dev/null
}

# What trainings say of their progress. A large file is left alone: "read" would read all of its first line.
mlb_progress() { # key generation ...
    cd "$mlb_root/jobs" 2>/dev/null || return 0
    mlb_count=$(($# / 2))
    while [ "$mlb_count" -gt 0 ]; do
        if [ -s "$1/$2/progress" ]; then set -- "$@" "$1/$2/progress"; fi
        shift 2
        mlb_count=$((mlb_count - 1))
    done
    [ $# -gt 0 ] || return 0
    # Keys and numbers have no blanks.
    for mlb_entry in $(find "$@" -type f -size -9 2>/dev/null); do
        mlb_text=''
        { read -r mlb_text <"$mlb_entry"; } 2>/dev/null
        mlb_job=${mlb_entry%/*}
        mlb_say P "${mlb_job%/*} ${mlb_job#*/} $mlb_text"
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

mlb_logs() { # key generation first-block blocks ...: whole blocks, because only they can be sought in POSIX
    while [ $# -ge 4 ]; do
        mlb_dir=$mlb_root/jobs/$1/$2
        mlb_ended=0
        [ -e "$mlb_dir/end" ] && mlb_ended=1
        if [ -d "$mlb_dir" ]; then
            printf '\n%s part %s %s %s\n' "$mlb_nonce" "$1" "$2" "$mlb_ended"
            [ -f "$mlb_dir/log" ] && dd if="$mlb_dir/log" bs=4096 skip="$3" count="$4" 2>/dev/null
        fi
        shift 4
    done
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
    mlb_see_to_the_stop
    mlb_say O 1
}

mlb_acknowledge() { # key generation owner
    mlb_look "$mlb_root/jobs/$1/$2"
    if [ "$mlb_state" != succeeded ] || [ "$mlb_owner" != "$3" ]; then
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
