package engine

import "slices"

// plan gives every slot its buffer: a linear scan over the steps in order, inner steps inside their owner.
func (p *Program) plan() {
	root := make([]int, len(p.slots)) // aliases share the first one's buffer
	last := make([]int, len(p.slots)) // by root: the position of the last use
	for i := range root {
		root[i] = i
	}
	find := func(i int) int {
		for root[i] != i {
			i = root[i]
		}
		return i
	}
	type event struct {
		s        *step
		pos, end int // end: behind the inner steps
	}
	var order []event
	var number func(b *block)
	number = func(b *block) {
		for _, s := range b.steps {
			k := len(order)
			order = append(order, event{s: s, pos: k})
			for _, inner := range s.blocks {
				number(inner)
				for _, o := range inner.outputs {
					last[find(o)] = max(last[find(o)], len(order))
				}
			}
			order[k].end = len(order)
			if aliases[s.op] && len(s.in) > 0 && s.in[0] >= 0 && len(s.out) > 0 && s.out[0] >= 0 {
				root[find(s.out[0])] = find(s.in[0])
			}
		}
	}
	number(p.main)
	for _, e := range order {
		for _, i := range slices.Concat(e.s.in, e.s.uses, e.s.out) {
			if i >= 0 {
				last[find(i)] = max(last[find(i)], e.end)
			}
		}
	}
	given := make([]bool, len(p.slots)) // inputs and constants have memory already
	for _, s := range p.main.inputs {
		given[s] = true
	}
	for s, c := range p.consts {
		given[s] = given[s] || c != nil
	}
	for _, o := range p.outputs {
		if r := find(o.slot); !given[r] {
			p.slots[r].fresh = true
		}
	}
	var free []int
	expire := map[int][]int{} // position → buffers whose last use is there
	for _, e := range order {
		for pos, bs := range expire {
			if pos <= e.pos {
				free = append(free, bs...)
				delete(expire, pos)
			}
		}
		slices.Sort(free) // map order must not show
		for _, o := range e.s.out {
			if o < 0 {
				continue
			}
			r := find(o)
			if given[r] {
				continue
			}
			if p.slots[r].fresh {
				p.slots[o].fresh = true
				continue
			}
			if p.slots[r].buffer < 0 {
				if k := len(free); k > 0 {
					p.slots[r].buffer, free = free[k-1], free[:k-1]
				} else {
					p.slots[r].buffer = p.buffers
					p.buffers++
				}
				expire[last[r]] = append(expire[last[r]], p.slots[r].buffer)
			}
			p.slots[o].buffer = p.slots[r].buffer
		}
	}
}
