package engine

var normOps = []op{}
