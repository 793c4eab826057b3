package gemm

// Region is a rectangle of C: rows M0 ≤ m < M1, columns N0 ≤ n < N1. N0 must be a multiple of the panel width, as the
// regions of [Split] are.
type Region struct{ M0, M1, N0, N1 int }

// Grid is a division of C into regions of about equal work.
type Grid struct {
	m, n         int // C is [m, n]
	rows, cols   int // of a region, but for the last ones
	acrossM      int // regions from top to bottom
	acrossN, len int
}

// Split divides C [m, n] into at most parts regions whose edges lie on tiles of tileRows × tileColumns.
func Split(m, n, tileRows, tileColumns, parts int) Grid {
	if m <= 0 || n <= 0 {
		return Grid{}
	}
	tilesM, tilesN := ceilDiv(m, tileRows), ceilDiv(n, tileColumns)
	var best Grid
	bestWork, bestRead := 0, 0
	for acrossM := 1; acrossM <= min(max(parts, 1), tilesM); acrossM++ {
		acrossN := min(max(parts/acrossM, 1), tilesN)
		regionM, regionN := ceilDiv(tilesM, acrossM), ceilDiv(tilesN, acrossN)
		g := Grid{m: m, n: n, rows: regionM * tileRows, cols: regionN * tileColumns}
		// The largest region decides when all are done; among equals, take the one that reads least of A and B.
		work, read := regionM*regionN, g.rows+g.cols
		if best.rows != 0 && (work > bestWork || work == bestWork && read >= bestRead) {
			continue
		}
		g.acrossM, g.acrossN = ceilDiv(m, g.rows), ceilDiv(n, g.cols)
		g.len = g.acrossM * g.acrossN
		best, bestWork, bestRead = g, work, read
	}
	return best
}

// Len returns the number of regions.
func (g Grid) Len() int { return g.len }

// Region returns region i, 0 ≤ i < Len.
func (g Grid) Region(i int) Region {
	m, n := i%g.acrossM*g.rows, i/g.acrossM*g.cols
	return Region{M0: m, M1: min(m+g.rows, g.m), N0: n, N1: min(n+g.cols, g.n)}
}

func ceilDiv(a, b int) int { return (a + b - 1) / b }
