# The rates of bench/workers.lua --data, by the number of senders.
#
#     gnuplot -e "data='FILE'; out='FILE.png'" bench/workers.gp

set terminal pngcairo size 800,500 noenhanced
set output out
set title "Integers from N threads to one reader"
set xlabel "senders"
set ylabel "messages per second, millions"
set logscale x 2
set logscale y
set xtics (1, 2, 8, 64)
set key outside right
set grid
set datafile missing "?"
set style data linespoints
plot data using 1:2 title "uring", '' using 1:3 title "C, mutex", \
  '' using 1:4 title "cqueues", '' using 1:5 title "luv"
