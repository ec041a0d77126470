package main

import (
	"bytes"
	"cmp"
	"fmt"
	"image/color"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// charted is the kind of pod that the charts are about.
const charted = "soft1"

// look is how a variant is drawn. The shapes tell the lines apart without colours.
type look struct {
	color  color.Color
	shape  draw.GlyphDrawer
	dashes []vg.Length
}

func (l look) line() draw.LineStyle {
	return draw.LineStyle{Color: l.color, Width: vg.Points(2), Dashes: l.dashes}
}

func (l look) mark() draw.GlyphStyle {
	return draw.GlyphStyle{Color: l.color, Shape: l.shape, Radius: vg.Points(4)}
}

// diamond is a filled square that stands on a corner.
type diamond struct{}

// DrawGlyph implements draw.GlyphDrawer.
func (diamond) DrawGlyph(c *draw.Canvas, style draw.GlyphStyle, at vg.Point) {
	r := style.Radius * 1.2
	var path vg.Path
	path.Move(vg.Point{X: at.X - r, Y: at.Y})
	path.Line(vg.Point{X: at.X, Y: at.Y + r})
	path.Line(vg.Point{X: at.X + r, Y: at.Y})
	path.Line(vg.Point{X: at.X, Y: at.Y - r})
	path.Close()
	c.SetColor(style.Color)
	c.Fill(path)
}

var looks = map[string]look{
	"stock":          {color.RGBA{R: 0x57, G: 0x60, B: 0x6a, A: 255}, draw.BoxGlyph{}, nil},
	"Score":          {color.RGBA{R: 0xbf, G: 0x6a, B: 0x02, A: 255}, draw.PyramidGlyph{}, []vg.Length{vg.Points(6), vg.Points(3)}},
	"LocalFirst":     {color.RGBA{R: 0x09, G: 0x69, B: 0xda, A: 255}, draw.CircleGlyph{}, nil},
	"extender-names": {color.RGBA{R: 0x82, G: 0x50, B: 0xdf, A: 255}, draw.RingGlyph{}, []vg.Length{vg.Points(1), vg.Points(3)}},
	"extender":       {color.RGBA{R: 0xcf, G: 0x22, B: 0x2e, A: 255}, diamond{}, []vg.Length{vg.Points(2), vg.Points(3)}},
}

// chart shows how figures grow with a size.
type chart struct {
	File, Title string
	x, y        string // what the axes are of
	logarithmic bool
	most        float64 // of the y axis; 0 for what the values need
	series      func(*results) []series
}

// series is one line of a chart.
type series struct {
	title  string
	look   look
	points plotter.XYs // in ascending order of x
}

const (
	nodesAxis   = "nodes in the cluster"
	volumesAxis = "volumes of three replicas"
	oneVolume   = " – pods with 1 replicated volume"
)

var charts = []chart{
	{File: "throughput.svg", Title: "Throughput" + oneVolume, x: nodesAxis, y: "pods per second", logarithmic: true, series: ofVariants("pods/s", 1)},
	{File: "latency.svg", Title: "Filter+Score, p50" + oneVolume, x: nodesAxis, y: "milliseconds", logarithmic: true, series: ofVariants("filter-score-p50-ns", 1e-6)},
	{File: "prefilter.svg", Title: "PreFilter of all plugins, p50" + oneVolume, x: nodesAxis, y: "microseconds", logarithmic: true, series: ofVariants("prefilter-p50-ns", 1e-3)},
	{File: "locality.svg", Title: "Pods on their data" + oneVolume, x: nodesAxis, y: "per cent of the pods", most: 100, series: ofVariants("on-data-%", 1)},
	{File: "nodelist.svg", Title: "What a node list costs", x: nodesAxis, y: "milliseconds", logarithmic: true, series: ofNodeLists},
	{File: "memory.svg", Title: "Resident memory of the scheduler" + oneVolume, x: nodesAxis, y: "MB", logarithmic: true, series: ofVariants("own-rss-MB", 1)},
	{File: "index.svg", Title: "The volume index", x: volumesAxis, y: "MB, or seconds", logarithmic: true, series: ofIndex("live heap of the index", "first sync")},
	{File: "indexcalls.svg", Title: "Calls of the volume index", x: volumesAxis, y: "microseconds", logarithmic: true, series: ofIndex("update, far", "update", "lookup, far", "lookup")},
}

// ofVariants has a line for each scheduler; factor leads from the unit to that of the axis.
func ofVariants(unit string, factor float64) func(*results) []series {
	return func(r *results) []series {
		var all []series
		for _, v := range variants {
			values := r.scheduling(v.name, unit)
			var points plotter.XYs
			for _, nodes := range r.sizes() {
				if value, found := median(pick(values, nodes, charted)); found {
					points = append(points, plotter.XY{X: float64(nodes), Y: value * factor})
				}
			}
			all = append(all, series{v.title, looks[v.name], points})
		}
		return all
	}
}

func ofNodeLists(r *results) []series {
	all := make([]series, len(nodeLists))
	for i, list := range nodeLists {
		all[i] = series{list.title, looks[list.look], nil}
		for _, nodes := range r.nodesOf(list.benchmark) {
			if value, found := median(r.of(volumesPackage, fmt.Sprint(list.benchmark, "/nodes=", nodes), "ns/op")); found {
				all[i].points = append(all[i].points, plotter.XY{X: float64(nodes), Y: value / 1e6})
			}
		}
	}
	return all
}

// ofIndex has a line for each figure that is measured with the index alone.
func ofIndex(figures ...string) func(*results) []series {
	looksInOrder := []look{looks["LocalFirst"], looks["Score"], looks["stock"], looks["extender-names"]}
	return func(r *results) []series {
		var all []series
		for i, figure := range figures {
			line := series{look: looksInOrder[i]}
			for _, f := range r.index {
				// On the same number of nodes; what follows the comma is that of volumes.
				if rest, is := strings.CutPrefix(f.What, figure+", "); is && rest == fmt.Sprint(f.Volumes, " volumes") {
					line.title = fmt.Sprintf("%s (%s)", figure, f.Unit)
					line.points = append(line.points, plotter.XY{X: float64(f.Volumes), Y: f.Measured})
				}
			}
			slices.SortFunc(line.points, func(a, b plotter.XY) int { return cmp.Compare(a.X, b.X) })
			all = append(all, line)
		}
		return all
	}
}

// measured are the lines of which there is something to draw.
func (c *chart) measured(r *results) []series {
	return slices.DeleteFunc(c.series(r), func(s series) bool { return len(s.points) == 0 })
}

// drawn are the charts of which there is something to show.
func drawn(r *results) (all []chart) {
	for _, c := range charts {
		if len(c.measured(r)) > 0 {
			all = append(all, c)
		}
	}
	return all
}

// drawAll writes the charts into a folder.
func drawAll(r *results, folder string) error {
	for _, c := range drawn(r) {
		if err := c.draw(c.measured(r), filepath.Join(folder, c.File)); err != nil {
			return fmt.Errorf("chart %s: %w", c.File, err)
		}
	}
	return nil
}

const (
	width  = 18 * vg.Centimeter
	height = 10 * vg.Centimeter
	header = 52 // points above the plot, for title and legend
	margin = 18 // points at the right, for the label of the last tick
)

// The names that browsers know, with the font that the layout is made with.
const (
	layoutFont  = "font-family:Liberation Sans;"
	browserFont = "font-family:Helvetica,Arial,Liberation Sans,sans-serif;"
)

func (c *chart) draw(all []series, file string) error {
	plot.DefaultFont.Variant = "Sans"
	p := plot.New()
	p.X.Label.Text = c.x
	p.Y.Label.Text = c.y
	p.X.Label.Padding, p.Y.Label.Padding = vg.Points(6), vg.Points(6)
	p.X.Scale = plot.LogScale{}
	grid := plotter.NewGrid()
	grid.Vertical.Width = 0
	grid.Horizontal.Color = color.Gray{Y: 0xe2}
	p.Add(grid)

	var sizes sizeTicks
	for _, s := range all {
		line, marks, err := plotter.NewLinePoints(s.points)
		if err != nil {
			return err
		}
		line.LineStyle, marks.GlyphStyle = s.look.line(), s.look.mark()
		p.Add(line, marks)
		for _, point := range s.points {
			sizes = append(sizes, int(point.X))
		}
	}
	slices.Sort(sizes)
	p.X.Tick.Marker = slices.Compact(sizes)
	if c.logarithmic {
		p.Y.Scale = plot.LogScale{}
		p.Y.Min, p.Y.Max = step(p.Y.Min, false), step(p.Y.Max, true)
		p.Y.Tick.Marker = decades{}
	} else {
		p.Y.Min, p.Y.Max = 0, c.most
		p.Y.Tick.Marker = fifths{}
	}

	picture := vgsvg.New(width, height)
	canvas := draw.New(picture)
	canvas.SetColor(color.White)
	canvas.Fill(canvas.Rectangle.Path())
	c.drawHeader(canvas, p.Title.TextStyle, all)
	p.Draw(draw.Crop(canvas, vg.Points(4), -vg.Points(margin), vg.Points(4), -vg.Points(header)))
	var svg bytes.Buffer
	if _, err := picture.WriteTo(&svg); err != nil {
		return err
	}
	return os.WriteFile(file, bytes.ReplaceAll(svg.Bytes(), []byte(layoutFont), []byte(browserFont)), 0o644)
}

// drawHeader writes the title, and below it the legend in one line.
func (c *chart) drawHeader(canvas draw.Canvas, style text.Style, all []series) {
	style.XAlign, style.YAlign = draw.XLeft, draw.YCenter
	x, y := canvas.Min.X+vg.Points(12), canvas.Max.Y-vg.Points(16)
	style.Font = font.From(plot.DefaultFont, 13)
	canvas.FillText(style, vg.Point{X: x, Y: y}, c.Title)
	style.Font = font.From(plot.DefaultFont, 10)
	y -= vg.Points(20)
	for _, line := range all {
		end := x + vg.Points(26)
		canvas.StrokeLine2(line.look.line(), x, y, end, y)
		canvas.DrawGlyph(line.look.mark(), vg.Point{X: (x + end) / 2, Y: y})
		canvas.FillText(style, vg.Point{X: end + vg.Points(5), Y: y}, line.title)
		x = end + vg.Points(5) + style.Width(line.title) + vg.Points(16)
	}
}

// sizeTicks marks the sizes that were measured, and nothing else.
type sizeTicks []int

func (s sizeTicks) Ticks(float64, float64) []plot.Tick {
	ticks := make([]plot.Tick, len(s))
	for i, size := range s {
		ticks[i] = plot.Tick{Value: float64(size), Label: strconv.Itoa(size)}
	}
	return ticks
}

// decades marks 1, 2 and 5 of every power of ten.
type decades struct{}

func (decades) Ticks(least, most float64) []plot.Tick {
	var ticks []plot.Tick
	for value := least; value <= most*1.001; value = step(value*1.001, true) {
		ticks = append(ticks, plot.Tick{Value: value, Label: strconv.FormatFloat(value, 'f', -1, 64)})
	}
	return ticks
}

// step is the next value of 1, 2 and 5 times a power of ten, up or down.
func step(value float64, up bool) float64 {
	power := math.Pow(10, math.Floor(math.Log10(value)))
	steps := []float64{1, 2, 5, 10}
	for i, s := range steps {
		if up && value <= s*power {
			return s * power
		}
		if !up && value < steps[i+1]*power {
			return s * power
		}
	}
	return 10 * power
}

// fifths marks 0 to 100 in steps of 20.
type fifths struct{}

func (fifths) Ticks(float64, float64) []plot.Tick {
	var ticks []plot.Tick
	for value := 0; value <= 100; value += 20 {
		ticks = append(ticks, plot.Tick{Value: float64(value), Label: strconv.Itoa(value)})
	}
	return ticks
}
