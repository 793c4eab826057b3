package engine

import (
	"fmt"
	"slices"

	"github.com/zqonnx/zqonnx/onnx"
)

var textOps = []op{
	{"", "TfIdfVectorizer", 9, 0, makeTfIdf},
}

// ngrams counts n-grams of tokens: a trie from token to token.
type ngrams struct {
	next        map[branch]int // node behind a branch
	id          []int          // of the n-gram that ends at a node; -1: none
	least, most int            // lengths that count
	skips       int            // tokens that may lie between two of an n-gram
	words       map[string]int64
	indexes     []int64 // of the output, by n-gram
	size        int     // of the output
}

// branch is a node of the trie and the token that follows.
type branch struct {
	node  int
	token int64
}

// makeTfIdf counts known n-grams in each row of tokens; weights, where there are some, go with the places of the output.
func makeTfIdf(_ *builder, n *onnx.Node) (kernel, error) {
	g, err := readNgrams(n)
	if err != nil {
		return nil, err
	}
	mode, weights := n.Str("mode", ""), n.Floats("weights")
	if !slices.Contains([]string{"TF", "IDF", "TFIDF"}, mode) {
		return nil, fmt.Errorf("mode %q is %w", mode, ErrUnsupported)
	}
	if weights != nil && len(weights) < g.size {
		return nil, fmt.Errorf("%d weights for %d outputs: %w", len(weights), g.size, onnx.ErrBadModel)
	}
	var tokens []int64
	return func(r *run) error {
		x := r.in(0)
		if x.Rank() > 2 {
			return fmt.Errorf("X of shape %v: [C] or [N, C] is needed: %w", x.Dims, onnx.ErrBadModel)
		}
		var err error
		if tokens, err = g.tokens(tokens[:0], r, x); err != nil {
			return err
		}
		dims, rows, columns := []int64{int64(g.size)}, 1, len(tokens)
		if x.Rank() == 2 {
			dims = []int64{x.Dims[0], int64(g.size)}
			rows, columns = int(x.Dims[0]), int(x.Dims[1])
		}
		y := onnx.Data[float32](r.out(0, onnx.Float32, dims...))
		clear(y)
		for row := range rows {
			counts := y[row*g.size:][:g.size]
			g.count(counts, tokens[row*columns:][:columns])
			for i, c := range counts {
				if mode == "IDF" {
					c = min(c, 1)
				}
				if weights != nil && mode != "TF" {
					c *= weights[i]
				}
				counts[i] = c
			}
		}
		return nil
	}, nil
}

func readNgrams(n *onnx.Node) (*ngrams, error) {
	pool, words := n.Ints("pool_int64s"), n.Strs("pool_strings")
	g := &ngrams{next: map[branch]int{}, id: []int{-1}, indexes: n.Ints("ngram_indexes")}
	if words != nil {
		g.words, pool = map[string]int64{}, nil
		for _, w := range words {
			if _, ok := g.words[w]; !ok {
				g.words[w] = int64(len(g.words))
			}
			pool = append(pool, g.words[w])
		}
	}
	starts := n.Ints("ngram_counts")
	least, most, skips := n.Int("min_gram_length", 0), n.Int("max_gram_length", 0), n.Int("max_skip_count", 0)
	if least < 1 || most < least || most > int64(len(starts)) || skips < 0 {
		return nil, fmt.Errorf("n-grams of %d to %d tokens with %d skipped, and ngram_counts %v: %w", least, most, skips, starts, onnx.ErrBadModel)
	}
	for _, i := range g.indexes {
		if i < 0 || i >= 1<<31 {
			return nil, fmt.Errorf("ngram_indexes has %d: %w", i, onnx.ErrBadModel)
		}
		g.size = max(g.size, int(i)+1)
	}
	g.least, g.most, g.skips = int(least), int(most), int(min(skips, 1<<31))
	id := 0
	for k, start := range starts {
		end := int64(len(pool))
		if k+1 < len(starts) {
			end = starts[k+1]
		}
		if start < 0 || end < start || end > int64(len(pool)) {
			return nil, fmt.Errorf("ngram_counts %v for a pool of %d: %w", starts, len(pool), onnx.ErrBadModel)
		}
		length := k + 1
		for part := range slices.Chunk(pool[start:end], length) {
			if len(part) == length {
				if length >= g.least && length <= g.most {
					g.add(part, id)
				}
				id++
			}
		}
	}
	if id > len(g.indexes) {
		return nil, fmt.Errorf("%d ngram_indexes for %d n-grams: %w", len(g.indexes), id, onnx.ErrBadModel)
	}
	return g, nil
}

func (g *ngrams) add(tokens []int64, id int) {
	node := 0
	for _, t := range tokens {
		b := branch{node, t}
		child, ok := g.next[b]
		if !ok {
			child = len(g.id)
			g.id, g.next[b] = append(g.id, -1), child
		}
		node = child
	}
	g.id[node] = id
}

// tokens appends the elements of x as the pool has them; -1 is a word that is not in it.
func (g *ngrams) tokens(list []int64, r *run, x *onnx.Tensor) ([]int64, error) {
	if (x.Type == onnx.String) != (g.words != nil) {
		return nil, fmt.Errorf("X of %s does not go with the kind of pool: %w", x.Type, onnx.ErrBadModel)
	}
	if g.words == nil {
		return append(list, r.ints(0)...), nil
	}
	for _, w := range x.Strings() {
		t, ok := g.words[string(w)]
		if !ok {
			t = -1
		}
		list = append(list, t)
	}
	return list, nil
}

// count adds the n-grams of a row. Single tokens are counted once, whatever may be skipped.
func (g *ngrams) count(counts []float32, row []int64) {
	least := g.least
	for step := 1; step <= g.skips+1 && least <= g.most && step*(least-1) < len(row); step++ {
		for start := 0; start+step*(least-1) < len(row); start++ {
			node := 0
			for k := 1; k <= g.most; k++ {
				at := start + step*(k-1)
				if at >= len(row) {
					break
				}
				child, ok := g.next[branch{node, row[at]}]
				if !ok {
					break
				}
				if node = child; k >= least && g.id[node] >= 0 {
					counts[g.indexes[g.id[node]]]++
				}
			}
		}
		least = max(least, 2)
	}
}
