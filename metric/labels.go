package metric

import "fmt"

// Labels are the figures of rows whose true class is known, of the judged scores and, as Float, of the reference.
type Labels struct {
	Rows              uint64 `json:"rows"`
	Accuracy          Number `json:"accuracy"` // share of the rows whose best class is the true one
	FloatAccuracy     Number `json:"float_accuracy"`
	CrossEntropy      Number `json:"cross_entropy"` // mean of −ln p(true class), in nats
	FloatCrossEntropy Number `json:"float_cross_entropy"`
}

// labelled sums up what labelled rows tell, of the reference first.
type labelled struct {
	rows  uint64
	right [2]uint64
	loss  [2]float64 // Σ −ln p
}

func (l *labelled) add(o labelled) {
	l.rows += o.rows
	for i := range l.right {
		l.right[i] += o.right[i]
		l.loss[i] += o.loss[i]
	}
}

func (l *labelled) observe(ref, got []float32, labels []int64, classes int) error {
	if classes == 0 || len(labels) != len(ref)/classes {
		return fmt.Errorf("%d labels are not one for each of %d values in rows of %d classes", len(labels), len(ref), classes)
	}
	for i, label := range labels {
		if label < 0 {
			continue
		}
		if label >= int64(classes) {
			return fmt.Errorf("label %d is none of %d classes", label, classes)
		}
		r, g := ref[i*classes:(i+1)*classes], got[i*classes:(i+1)*classes]
		logOf := logOf(r)
		l.rows++
		for k, row := range [][]float32{r, g} {
			if int64(argmax(row)) == label {
				l.right[k]++
			}
			l.loss[k] -= logOf(row)[label]
		}
	}
	return nil
}

// figures returns nil where no row had a label.
func (l *labelled) figures() *Labels {
	if l.rows == 0 {
		return nil
	}
	n := float64(l.rows)
	return &Labels{
		Rows:     l.rows,
		Accuracy: Number(float64(l.right[1]) / n), FloatAccuracy: Number(float64(l.right[0]) / n),
		CrossEntropy: Number(l.loss[1] / n), FloatCrossEntropy: Number(l.loss[0] / n),
	}
}
