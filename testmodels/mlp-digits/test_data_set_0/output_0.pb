
BlogitsJ(ды.ACL-┴└w└qtн└Ют└dцs?;gЭ?Rb╥└ф$Ж? ■Ы?