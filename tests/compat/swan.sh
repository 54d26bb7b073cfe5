#!/bin/sh
# A stand-in for the SWAN program, which needs no more than a shell. As measured with SWAN itself: it exits 0 also after
# a fatal error in its input. A file that is missing leaves Errfile and no norm_end; an illegal keyword leaves norm_end
# all the same, and only PRINT and Errfile say what was wrong.
set -eu
[ -r INPUT ] || { echo " ** Terminating error    : File INPUT not found" >&2; exit 0; }
echo " SWAN is preparing computation"
{ echo " Execution started"; cat INPUT; } >PRINT

fatal() { # KEEPS_GOING MESSAGE
    echo " ** Terminating error    : $2" >>PRINT
    echo "Terminating error    : $2" >Errfile
    [ "$1" = yes ] || exit 0
}

outputs=
skips=no
while read -r word rest || [ -n "$word" ]; do
    case $word in
        '' | '!'* | PROJECT | CGRID | INPGRID | SET | HSIGN | DEPTH | OUTPUT) ;;
        READINP)
            file=${rest#*\'}
            file=${file%%\'*}
            [ -r "$file" ] || fatal no "File $file not found"
            ;;
        BLOCK)
            file=${rest#*fname=\'}
            outputs="$outputs ${file%%\'*}"
            ;;
        COMPUTE)
            [ "$skips" = no ] || continue
            day=${rest#*tbegc=}
            day=${day%%.*}
            for hour in 01 02 03; do
                echo "+time $day.${hour}0000   , step      ${hour#0}; iteration    1; sweep 1"
            done
            for file in $outputs; do
                printf 'CDF\001 %s\n' "$file" >"$file"
            done
            ;;
        STOP) : >norm_end ;;
        *)
            skips=yes
            fatal yes "Illegal keyword: $word"
            echo " ** No start of computation because  of error level:  3" >>PRINT
            ;;
    esac
done <INPUT
