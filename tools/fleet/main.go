// Fleet computes how a new image reaches many small sites: a roll-out in waves, thin and slow
// links, sites that are away for hours, one registry or mirrors in front of it. docs/fleet.md has
// the method and a table of results.
//
//	go run -C tools ./fleet
//	go run -C tools ./fleet -mirrors 20 -egress 10000 -image 60
package main

import (
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"time"
)

// step is how far the simulation goes at once.
const step = 10 * time.Second

// settings are what is computed. Sizes are in MB (10^6 bytes), rates in Mbit/s.
type settings struct {
	sites      int
	image      float64       // what a site has to get
	rtt        time.Duration // a round trip to the registry or the mirror
	links      []link
	egress     float64 // of the registry
	mirrors    int     // 0: sites ask the registry
	mirror     float64 // egress of each mirror
	up, down   time.Duration
	retry      time.Duration // between the tries of a site; each waits as long again, at most, by chance
	waves      []float64     // shares of the sites, each with those before it
	soak       time.Duration // between waves
	reach      float64       // how much of a wave must be done before the next one
	broken     float64       // share of the sites that fail after the pull
	maxBroken  float64       // of the sites of a wave that have tried: more stops the roll-out
	seed       uint64
	roundTrips int
}

// link is a kind of link, and the share of the sites that have it.
type link struct{ share, rate float64 }

// defaults are ten thousand sites, half of them away at any time.
func defaults() settings {
	return settings{
		sites: 10_000, image: 60, rtt: 100 * time.Millisecond,
		links:  []link{{0.2, 2}, {0.6, 10}, {0.2, 50}},
		egress: 1000, mirror: 1000,
		up: 6 * time.Hour, down: 6 * time.Hour, retry: 15 * time.Minute,
		waves: []float64{0.01, 0.1, 0.5, 1}, soak: 2 * time.Hour, reach: 0.95,
		broken: 0.002, maxBroken: 0.02, seed: 1,
		// TCP, TLS 1.3, the index and the manifest (an image has both), the configuration, and one
		// for each layer, which are asked for together.
		roundTrips: 1 + 1 + 2 + 1 + 1,
	}
}

// site is one site of the fleet.
type site struct {
	rate   float64 // Mbit/s
	wave   int
	mirror int
	up     bool
	turns  time.Duration // when it comes or goes
	next   time.Duration // when it tries
	left   float64       // Mbit
	done   time.Duration // 0: not yet
	broken bool
}

// result is what became of a roll-out.
type result struct {
	reached   map[int]time.Duration // by percent of the sites
	stopped   time.Duration         // 0: it was not stopped
	peak      float64               // Mbit/s that leave the registry
	sent      float64               // Mbit that leave the registry
	wavesDone []time.Duration
	done      int
}

// simulate goes on until all sites are done, the roll-out stops, or limit.
func simulate(s settings, limit time.Duration) result {
	random := rand.New(rand.NewPCG(s.seed, 0))
	sites := make([]site, s.sites)
	for i := range sites {
		sites[i] = site{rate: rateOf(s.links, random.Float64()), wave: waveOf(s.waves, float64(i)/float64(s.sites)), up: random.Float64() < float64(s.up)/float64(s.up+s.down)}
		sites[i].mirror, sites[i].broken = i%max(s.mirrors, 1), random.Float64() < s.broken
		sites[i].turns = span(random, sites[i].up, s)
		sites[i].left = s.image * 8
	}
	r := result{reached: map[int]time.Duration{}}
	if s.mirrors > 0 { // each gets the image once, before the roll-out
		r.sent, r.peak = s.image*8*float64(s.mirrors), s.egress
	}
	wave, opened := 0, time.Duration(0)
	for now := time.Duration(0); now < limit && r.done < s.sites; now += step {
		active := make([]int, max(s.mirrors, 1))
		for i := range sites {
			x := &sites[i]
			if now >= x.turns {
				x.up = !x.up
				x.turns = now + span(random, x.up, s)
				x.next = now + time.Duration(random.Float64()*float64(s.retry))
			}
			if x.up && x.done == 0 && x.wave <= wave && now >= opened && now >= x.next {
				active[x.mirror]++
			}
		}
		used := s.transfer(sites, active, wave, now, opened, &r)
		r.peak = max(r.peak, used)
		r.sent += used * step.Seconds()
		for _, percent := range []int{50, 90, 99, 100} {
			if _, have := r.reached[percent]; !have && r.done*100 >= percent*s.sites {
				r.reached[percent] = now
			}
		}
		tried, failed, size := 0, 0, 0
		for i := range sites {
			if x := &sites[i]; x.wave <= wave {
				size++
				if x.done > 0 {
					tried++
					if x.broken {
						failed++
					}
				}
			}
		}
		if tried >= 50 && float64(failed) > s.maxBroken*float64(tried) {
			r.stopped = now
			return r
		}
		if wave < len(s.waves)-1 && float64(tried) >= s.reach*float64(size) {
			wave++
			opened = now + s.soak
			r.wavesDone = append(r.wavesDone, now)
		}
	}
	return r
}

// transfer moves one step's bytes, and returns the Mbit/s that leave the registry for sites. A
// server shares its egress evenly among those who pull.
func (s settings) transfer(sites []site, active []int, wave int, now, opened time.Duration, r *result) (used float64) {
	egress := s.egress
	if s.mirrors > 0 {
		egress = s.mirror
	}
	for i := range sites {
		x := &sites[i]
		if !x.up || x.done > 0 || x.wave > wave || now < opened || now < x.next {
			continue
		}
		rate := min(x.rate, egress/float64(active[x.mirror]))
		seconds := step.Seconds()
		if x.left == s.image*8 { // a connection is made first; what has arrived is kept when the link breaks
			seconds -= float64(s.roundTrips) * s.rtt.Seconds()
		}
		moved := min(x.left, rate*seconds)
		x.left -= moved
		if s.mirrors == 0 {
			used += moved / step.Seconds()
		}
		if x.left <= 0 {
			x.done = max(now, step)
			r.done++
		}
	}
	return used
}

// span is how long a site stays as it is.
func span(random *rand.Rand, up bool, s settings) time.Duration {
	mean := s.down
	if up {
		mean = s.up
	}
	return time.Duration(random.ExpFloat64() * float64(mean))
}

func rateOf(links []link, at float64) float64 {
	for _, l := range links {
		if at -= l.share; at < 0 {
			return l.rate
		}
	}
	return links[len(links)-1].rate
}

func waveOf(waves []float64, at float64) int {
	return slices.IndexFunc(waves, func(share float64) bool { return at < share })
}

func main() {
	s := defaults()
	flag.IntVar(&s.sites, "sites", s.sites, "how many sites")
	flag.Float64Var(&s.image, "image", s.image, "what a site has to get, in MB")
	flag.Float64Var(&s.egress, "egress", s.egress, "egress of the registry, in Mbit/s")
	flag.Float64Var(&s.mirror, "mirror-egress", s.mirror, "egress of each mirror, in Mbit/s")
	flag.IntVar(&s.mirrors, "mirrors", s.mirrors, "how many mirrors; 0: sites ask the registry")
	flag.DurationVar(&s.rtt, "rtt", s.rtt, "a round trip")
	flag.DurationVar(&s.soak, "soak", s.soak, "pause between waves")
	flag.Float64Var(&s.reach, "reach", s.reach, "how much of a wave must be done before the next one")
	flag.Float64Var(&s.broken, "broken", s.broken, "share of the sites that fail after the pull")
	flag.Uint64Var(&s.seed, "seed", s.seed, "seed of chance")
	flag.Parse()
	if s.sites < 1 || s.image <= 0 || s.egress <= 0 || s.mirror <= 0 || s.mirrors < 0 || s.broken < 0 || s.broken > 1 {
		fmt.Fprintln(os.Stderr, "fleet: -sites, -image, -egress and -mirror-egress must be above 0, -mirrors not below, -broken from 0 to 1")
		os.Exit(2)
	}
	print(os.Stdout, s, simulate(s, 14*24*time.Hour))
}

func print(out io.Writer, s settings, r result) {
	fmt.Fprintf(out, "sites                 %d, %d done\n", s.sites, r.done)
	if r.stopped > 0 {
		fmt.Fprintf(out, "stopped after         %v\n", r.stopped)
	}
	for _, percent := range []int{50, 90, 99, 100} {
		if at, have := r.reached[percent]; have {
			fmt.Fprintf(out, "%3d %% after           %.1f h\n", percent, at.Hours())
		}
	}
	for i, at := range r.wavesDone {
		fmt.Fprintf(out, "wave %d done after     %.1f h\n", i+1, at.Hours())
	}
	fmt.Fprintf(out, "leaves the registry   %.1f GB, at most %.0f Mbit/s\n", r.sent/8/1000, r.peak)
}
